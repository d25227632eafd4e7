import numpy as np
import pytest
from sklearn.metrics import f1_score

from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.evaluation.predictions import make_predictions
from stages.evaluation.slices import find_worst_accuracy, measure_slices

VALUES = ["en"] * 60 + ["de"] * 30 + ["fr"] * 10


def make_single(correct):
    """Predictions of class 1, of which the last of each language are wrong."""
    labels = np.concatenate([np.arange(rows) < right for rows, right in zip((60, 30, 10), correct, strict=True)])
    return make_predictions(SINGLE_LABEL, np.tile([0.0, 1.0], (100, 1)), labels.astype(int))


def test_each_value_is_a_slice_with_its_accuracy_and_interval_the_largest_first():
    found = measure_slices(make_single((54, 15, 1)), {"language": VALUES}, seed=0)
    assert [(one.column, one.value, one.rows, one.accuracy[0]) for one in found] == [
        ("language", "en", 60, 0.9), ("language", "de", 30, 0.5), ("language", "fr", 10, 0.1)
    ]  # fmt: skip
    for one in found:
        assert one.accuracy[1] < one.accuracy[0] < one.accuracy[2]
        assert one.f1_micro is None


def test_the_worst_slice_is_one_of_thirty_rows_or_more():
    found = measure_slices(make_single((54, 15, 1)), {"language": VALUES, "all": [""] * 100}, seed=0)
    assert find_worst_accuracy(found) == {"accuracy_worst_slice": 0.5}
    assert find_worst_accuracy([one for one in found if one.value == "fr"]) == {}
    assert find_worst_accuracy([]) == {}


def test_slices_of_several_labels_a_text_have_f1_too():
    random = np.random.default_rng(0)
    made = make_predictions(MULTI_LABEL, random.normal(size=(100, 3)), random.random((100, 3)) < 0.4)
    found = measure_slices(made, {"language": VALUES}, seed=0)
    for one, rows in zip(found, (slice(60), slice(60, 90), slice(90, 100)), strict=True):
        assert one.accuracy[0] == made.correct[rows].mean()
        assert one.f1_micro[0] == pytest.approx(f1_score(made.labels[rows], made.predicted[rows], average="micro"))
        assert one.f1_micro[1] < one.f1_micro[0] < one.f1_micro[2]


def test_a_column_of_many_values_is_measured_in_parts(monkeypatch):
    monkeypatch.setattr("stages.evaluation.slices.GROUPS_AT_ONCE", 7)
    found = measure_slices(make_single((54, 15, 1)), {"row": [str(number) for number in range(100)]}, seed=0)
    assert sum(one.rows for one in found) == len(found) == 100
    assert measure_slices(make_single((54, 15, 1)), {}, seed=0) == []
