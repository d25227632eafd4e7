import numpy as np
import pytest

from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.evaluation.predictions import make_predictions
from stages.inference.agreement import bootstrap_f1_difference, compare, compute_f1, count_decisions

LABELS = np.arange(1000) % 2


def predict(wrong):
    """Predictions of 1,000 texts of which those with these numbers are wrong."""
    answers = LABELS.copy()
    answers[wrong] = 1 - answers[wrong]
    return make_predictions(SINGLE_LABEL, np.eye(2)[answers], LABELS, ["a", "b"])


def predict_several(logits):
    labels = np.random.default_rng(0).random((500, 3)) < 0.4
    return make_predictions(MULTI_LABEL, logits + np.where(labels, 1.0, -1.0), labels, ["a", "b", "c"])


def test_a_model_with_other_labels_for_few_texts_is_accepted():
    agreement = compare(predict(range(100)), predict(range(5, 104)), 0.95, 0)
    assert (agreement.rows, agreement.metric, agreement.equal_labels) == (1000, "accuracy", 0.991)
    assert (agreement.reference, agreement.found) == (0.9, 0.901)
    assert agreement.low < 0.001 < agreement.high
    assert agreement.is_accepted


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [(range(10, 110), "98.00% of the labels"), (range(109), "a difference of -0.0150 to -0.0040")],
)
def test_a_model_with_too_many_other_labels_or_worse_ones_is_not(wrong, reason):
    agreement = compare(predict(range(100)), predict(wrong), 0.95, 0)
    assert not agreement.is_accepted
    assert reason in agreement.describe()


def test_with_several_labels_decisions_and_f1_are_compared():
    random = np.random.default_rng(1)
    logits = random.normal(size=(500, 3))
    expected, found = predict_several(logits), predict_several(logits + random.normal(scale=0.01, size=(500, 3)))
    agreement = compare(expected, found, 0.95, 0)
    assert agreement.metric == "f1_micro"
    assert 0.99 < agreement.equal_labels == (expected.predicted == found.predicted).mean() < 1
    assert agreement.is_accepted
    assert not compare(expected, predict_several(logits * 1.3), 0.95, 0).is_accepted


def test_the_interval_of_f1_is_that_of_resampled_rows():
    random = np.random.default_rng(2)
    new, old = (count_decisions(predict_several(random.normal(size=(500, 3)))) for _ in range(2))
    drawn = [random.integers(0, 500, 500) for _ in range(2000)]
    differences = [float(compute_f1(new[rows].sum(0)) - compute_f1(old[rows].sum(0))) for rows in drawn]
    found = bootstrap_f1_difference(new, old, 0.95, 0)
    assert found == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.005)


def test_f1_without_any_labels_is_one():
    assert compute_f1(np.array([[0, 0, 0], [1, 2, 2]])).tolist() == [1, 0.5]
