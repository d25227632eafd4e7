"""The metrics of the pipeline: how they are computed, and what the reports call them."""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from stages.evaluation.predictions import LabelledPredictions

# What the reports show of `compute_test_metrics`, in this order. MLflow gets all of it, under the keys.
METRIC_LABELS = {
    "accuracy": "Accuracy",
    "f1_macro": "F1, macro",
    "precision_macro": "Precision, macro",
    "recall_macro": "Recall, macro",
    "recall_worst_class": "Lowest recall of a class",
    "loss": "Loss (cross-entropy)",
    "calibration_error": "Expected calibration error",
}
CALIBRATION_BINS = 15  # of equal width: Guo et al., On Calibration of Modern Neural Networks, ICML 2017


class ClassMetrics(NamedTuple):
    """Metrics of each class, all `(C,)`; `rows` is the number of rows whose actual class it is."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    rows: np.ndarray


def score_classes(predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, and precision, recall and F1 averaged over classes with equal weight, of N class numbers, `(N,)`.

    A class that is never predicted has precision 0.
    """
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "precision_macro": float(precision),
        "recall_macro": float(recall),
        "f1_macro": float(f1),
    }


def compute_metrics(predictions: LabelledPredictions) -> dict[str, float]:
    """The metrics of a validation as of the test: those of `score_classes`, and the mean `loss`."""
    return score_classes(predictions.predicted, predictions.labels) | {"loss": float(predictions.losses.mean())}


def compute_test_metrics(predictions: LabelledPredictions) -> dict[str, float]:
    """The content of `metrics/evaluate.json`: `compute_metrics` and what is computed on the test split only."""
    return compute_metrics(predictions) | {
        "recall_worst_class": compute_lowest_recall(predictions),
        "calibration_error": compute_calibration_error(predictions),
        "rows": len(predictions.labels),
    }


def compute_class_metrics(predictions: LabelledPredictions) -> ClassMetrics:
    """Precision, recall and F1 of each class, 0 where they are not defined."""
    classes = range(predictions.logits.shape[1])
    return ClassMetrics(
        *precision_recall_fscore_support(predictions.labels, predictions.predicted, labels=classes, zero_division=0)
    )


def compute_lowest_recall(predictions: LabelledPredictions) -> float:
    """The lowest recall of a class that has rows."""
    rows = predictions.confusion.sum(axis=1)
    correct = np.diagonal(predictions.confusion)
    return float((correct[rows > 0] / rows[rows > 0]).min())


def compute_calibration_error(predictions: LabelledPredictions) -> float:
    """Expected calibration error: how far confidence is from accuracy in bins of confidence, on average over rows.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    bins = bin_by_confidence(predictions)
    gaps = (abs(one["confidence"] - one["accuracy"]) * one["rows"] for one in bins)
    return float(sum(gaps) / len(predictions.labels))


def bin_by_confidence(predictions: LabelledPredictions) -> list[dict[str, float]]:
    """Mean confidence, accuracy and number of rows of each bin of confidence that has rows, lowest bin first."""
    confidence = predictions.confidence
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        {
            "confidence": float(confidence[bins == number].mean()),
            "accuracy": float(predictions.correct[bins == number].mean()),
            "rows": int((bins == number).sum()),
        }
        for number in np.unique(bins)
    ]
