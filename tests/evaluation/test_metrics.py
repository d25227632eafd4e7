import socket

import evaluate
import numpy as np
import pytest

from stages.evaluation.metrics import ClassificationMetrics, calibration_bins, compute_metrics, compute_test_metrics

LOGITS = np.array([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]], dtype=np.float32)
LABELS = np.array([0, 1, 1, 2])


def test_metrics_are_those_counted_by_hand():
    metrics = compute_metrics(LOGITS, LABELS)
    assert metrics["accuracy"] == 0.5
    assert metrics["precision_macro"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert metrics["recall_macro"] == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert metrics["f1_macro"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_loss_is_the_mean_cross_entropy():
    right, wrong = np.log(np.exp(2) + 2) - 2, np.log(np.exp(2) + 2)
    assert compute_metrics(LOGITS, LABELS)["loss"] == pytest.approx((right + wrong) / 2)


def test_the_worst_class_and_the_calibration_of_the_test_split():
    metrics = compute_test_metrics(LOGITS, LABELS)
    assert (metrics["recall_worst_class"], metrics["rows"]) == (0, 4)
    assert metrics["calibration_error"] == pytest.approx(np.exp(2) / (np.exp(2) + 2) - 0.5)
    assert compute_test_metrics(LOGITS * 100, LABELS)["calibration_error"] == pytest.approx(0.5)


def test_a_class_without_rows_is_not_the_worst():
    assert compute_test_metrics(LOGITS[:1], LABELS[:1])["recall_worst_class"] == 1


def test_bins_of_confidence_hold_each_row_once():
    logits, labels = np.random.default_rng(0).normal(size=(200, 3)), np.zeros(200, dtype=int)
    bins = calibration_bins(logits, labels)
    assert sum(one["rows"] for one in bins) == 200
    assert [one["confidence"] for one in bins] == sorted(one["confidence"] for one in bins)
    assert sum(one["accuracy"] * one["rows"] for one in bins) == pytest.approx((logits.argmax(-1) == labels).sum())


def test_huge_logits_do_not_overflow():
    assert compute_metrics(np.array([[3e38, -3e38]], dtype=np.float32), np.array([0]))["loss"] == 0


def test_the_module_is_one_of_the_evaluate_library_and_needs_no_hub(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", None)  # any use of the network fails
    module = ClassificationMetrics(keep_in_memory=True)
    assert isinstance(module, evaluate.Metric)
    assert module.compute(predictions=[0, 1], references=[0, 1])["f1_macro"] == 1
