import numpy as np
import pytest

from stages.core.errors import UserError
from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL, Task
from stages.evaluation.metrics import (
    bin_by_confidence,
    compute_class_metrics,
    compute_metrics,
    compute_test_metrics,
    list_metrics,
    require_metric,
    select_headlines,
)
from stages.evaluation.predictions import LabelledPredictions, make_predictions

LOGITS = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]], dtype=np.float32)
LABELS = np.array([0, 1, 1, 2])
PREDICTIONS = LabelledPredictions(LOGITS, LABELS)
MULTI_LABELS = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]])
MULTI = make_predictions(MULTI_LABEL, LOGITS - 1, MULTI_LABELS)


def test_metrics_are_those_counted_by_hand():
    metrics = compute_metrics(PREDICTIONS)
    assert metrics["accuracy"] == 0.5
    assert metrics["precision_macro"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert metrics["recall_macro"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert metrics["f1_macro"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_loss_is_the_mean_cross_entropy():
    right, wrong = np.log(np.exp(2) + 2) - 2, np.log(np.exp(2) + 2)
    assert compute_metrics(PREDICTIONS)["loss"] == pytest.approx((right + wrong) / 2)


def test_lowest_recall_and_calibration_error_of_the_test_split():
    metrics = compute_test_metrics(PREDICTIONS)
    assert (metrics["recall_worst_class"], metrics["rows"]) == (0, 4)
    assert metrics["calibration_error"] == pytest.approx(np.exp(2) / (np.exp(2) + 2) - 0.5)
    assert compute_test_metrics(LabelledPredictions(LOGITS * 100, LABELS))["calibration_error"] == pytest.approx(0.5)


def test_a_class_without_rows_has_no_recall():
    assert compute_test_metrics(LabelledPredictions(LOGITS[:1], LABELS[:1]))["recall_worst_class"] == 1


@pytest.mark.parametrize(("problem_type", "classes", "is_ordinal"), [
    (SINGLE_LABEL, 2, False), (SINGLE_LABEL, 5, True), (SINGLE_LABEL, 6, False), (MULTI_LABEL, 6, False),
])  # fmt: skip
def test_every_metric_that_is_shown_is_measured(problem_type, classes, is_ordinal):
    logits = np.random.default_rng(0).normal(size=(40, classes))
    labels = np.arange(40) % classes
    labels = labels[:, None] == np.arange(classes) if problem_type == MULTI_LABEL else labels
    measured = compute_test_metrics(make_predictions(problem_type, logits, labels, is_ordinal=is_ordinal))
    shown = set(list_metrics(problem_type, classes, is_ordinal))
    assert shown == set(measured) - {"rows"} | {"accuracy_worst_slice"}


def test_a_metric_that_the_labels_do_not_have_is_one_message():
    require_metric("train.metric_for_best_model", "hamming_loss", Task(["a", "b", "c"], MULTI_LABEL))
    with pytest.raises(UserError, match=r"model: found 'hamming_loss'; for one of 3 labels a text allowed: accuracy, "):
        require_metric("train.metric_for_best_model", "hamming_loss", Task(["a", "b", "c"], SINGLE_LABEL))
    with pytest.raises(UserError, match=r"for several labels a text allowed: f1_micro, "):
        require_metric("train.metric_for_best_model", "balanced_accuracy", Task(["a", "b", "c"], MULTI_LABEL))
    with pytest.raises(UserError, match=r"found 'accuracy_worst_slice'"):
        require_metric("train.metric_for_best_model", "accuracy_worst_slice", Task(["a", "b", "c"], SINGLE_LABEL))


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL])
def test_a_model_that_has_diverged_has_the_same_metrics_all_not_numbers(problem_type):
    labels = LABELS if problem_type == SINGLE_LABEL else MULTI_LABELS
    found = compute_metrics(make_predictions(problem_type, np.full_like(LOGITS, np.nan), labels))
    assert set(found) == set(compute_metrics(make_predictions(problem_type, LOGITS, labels)))
    assert np.isnan(list(found.values())).all()


def test_metrics_by_class_are_those_counted_by_hand():
    found = compute_class_metrics(PREDICTIONS)
    assert found.precision.tolist() == [1 / 2, 1 / 2, 0]
    assert found.recall.tolist() == [1, 1 / 2, 0]
    assert found.f1 == pytest.approx([2 / 3, 1 / 2, 0])
    assert found.average_precision == pytest.approx([1 / 2, 1 / 2, 1 / 4])
    assert found.rows.tolist() == [1, 2, 1]


def test_metrics_by_label_are_those_counted_by_hand():
    found = compute_class_metrics(MULTI)
    assert found.precision.tolist() == [1, 1 / 2, 0]
    assert found.recall.tolist() == [1, 1 / 2, 0]
    assert found.rows.tolist() == [2, 2, 0]
    assert found.average_precision[:2] == pytest.approx([1, 1 / 2])
    assert np.isnan(found.average_precision[2])


def test_each_row_is_in_one_bin_of_confidence():
    predictions = LabelledPredictions(np.random.default_rng(0).normal(size=(200, 3)), np.zeros(200, dtype=int))
    bins = bin_by_confidence(predictions)
    assert sum(one["rows"] for one in bins) == 200
    assert [one["confidence"] for one in bins] == sorted(one["confidence"] for one in bins)
    assert sum(one["accuracy"] * one["rows"] for one in bins) == pytest.approx(predictions.correct.sum())


def test_decisions_about_labels_are_calibrated_against_how_often_they_are_right():
    bins = bin_by_confidence(MULTI)
    low, high = 1 / (1 + np.exp(1)), 1 / (1 + np.exp(-1))
    assert [(one["rows"], one["accuracy"]) for one in bins] == [(8, 1 / 8), (4, 3 / 4)]
    assert [one["confidence"] for one in bins] == pytest.approx([low, high])
    expected = (8 * abs(low - 1 / 8) + 4 * abs(high - 3 / 4)) / 12
    assert compute_test_metrics(MULTI)["calibration_error"] == pytest.approx(expected)


def test_a_label_without_rows_is_not_the_one_with_the_lowest_recall():
    assert compute_test_metrics(MULTI)["recall_worst_class"] == 1 / 2
    none = make_predictions(MULTI_LABEL, LOGITS, np.zeros_like(MULTI_LABELS))
    assert "recall_worst_class" not in compute_test_metrics(none)


def test_experiments_are_compared_by_few_metrics():
    measured = compute_test_metrics(MULTI) | {"accuracy_worst_slice": 0.5}
    found = select_headlines(measured, MULTI_LABEL)
    assert list(found) == ["accuracy", "f1_micro", "f1_macro", "loss", "accuracy_worst_slice", "rows"]
    assert found.items() <= measured.items()
    single = select_headlines(compute_test_metrics(PREDICTIONS), SINGLE_LABEL)
    assert list(single) == ["accuracy", "f1_macro", "loss", "recall_worst_class", "calibration_error", "rows"]
