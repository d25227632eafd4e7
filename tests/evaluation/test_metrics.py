import numpy as np
import pytest

from stages.evaluation.metrics import (
    METRIC_LABELS,
    bin_by_confidence,
    compute_class_metrics,
    compute_metrics,
    compute_test_metrics,
)
from stages.evaluation.predictions import LabelledPredictions

LOGITS = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]], dtype=np.float32)
LABELS = np.array([0, 1, 1, 2])
PREDICTIONS = LabelledPredictions(LOGITS, LABELS)


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


def test_every_metric_that_is_shown_is_measured():
    assert set(METRIC_LABELS) == set(compute_test_metrics(PREDICTIONS)) - {"rows"}


def test_metrics_by_class_are_those_counted_by_hand():
    found = compute_class_metrics(PREDICTIONS)
    assert found.precision.tolist() == [1 / 2, 1 / 2, 0]
    assert found.recall.tolist() == [1, 1 / 2, 0]
    assert found.f1 == pytest.approx([2 / 3, 1 / 2, 0])
    assert found.rows.tolist() == [1, 2, 1]


def test_each_row_is_in_one_bin_of_confidence():
    predictions = LabelledPredictions(np.random.default_rng(0).normal(size=(200, 3)), np.zeros(200, dtype=int))
    bins = bin_by_confidence(predictions)
    assert sum(one["rows"] for one in bins) == 200
    assert [one["confidence"] for one in bins] == sorted(one["confidence"] for one in bins)
    assert sum(one["accuracy"] * one["rows"] for one in bins) == pytest.approx(predictions.correct.sum())
