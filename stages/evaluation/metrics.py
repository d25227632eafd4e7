"""The metrics of the pipeline: how they are computed, and what the reports call them.

`stages.evaluation.scores` says what is left out where a metric is not defined.
"""

from typing import NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from stages.core.errors import UserError
from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL, ProblemType, Task
from stages.evaluation.predictions import LabelledPredictions, MultiLabelPredictions
from stages.evaluation.scores import (
    get_memberships,
    has_top,
    score_classes,
    score_label_sets,
    score_order,
    score_ranking,
)

# What the reports show of `compute_test_metrics`, in this order. MLflow gets all of it, under the keys.
SINGLE_LABEL_METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1_macro": "F1, macro",
    "f1_weighted": "F1, weighted by rows",
    "precision_macro": "Precision, macro",
    "recall_macro": "Recall, macro",
    "recall_worst_class": "Lowest recall of a class",
    "matthews_corrcoef": "Matthews correlation",
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision, macro",
    "loss": "Loss (cross-entropy)",
    "brier_score": "Brier score",
    "calibration_error": "Expected calibration error",
}
TOP_METRICS = {"top_3_accuracy": "Class among the three most likely"}
ORDINAL_METRICS = {
    "mean_absolute_error": "Mean absolute error, in classes",
    "quadratic_weighted_kappa": "Kappa, quadratic weights",
}
MULTI_LABEL_METRICS = {
    "f1_micro": "F1, micro",
    "f1_macro": "F1, macro",
    "f1_weighted": "F1, weighted by rows",
    "f1_samples": "F1, mean over texts",
    "precision_micro": "Precision, micro",
    "precision_macro": "Precision, macro",
    "recall_micro": "Recall, micro",
    "recall_macro": "Recall, macro",
    "recall_worst_class": "Lowest recall of a label",
    "accuracy": "Subset accuracy (all labels right)",
    "hamming_loss": "Hamming loss (wrong decisions)",
    "roc_auc": "ROC AUC, macro",
    "average_precision": "Average precision, macro",
    "average_precision_micro": "Average precision, micro",
    "loss": "Loss (binary cross-entropy)",
    "brier_score": "Brier score",
    "calibration_error": "Expected calibration error",
}
SLICE_METRICS = {"accuracy_worst_slice": "Lowest accuracy of a slice"}
# The content of `metrics/test.json`, which `dvc exp show` has columns for.
HEADLINES: dict[ProblemType, tuple[str, ...]] = {
    SINGLE_LABEL: ("accuracy", "f1_macro", "loss", "recall_worst_class", "calibration_error"),
    MULTI_LABEL: ("accuracy", "f1_micro", "f1_macro", "loss"),
}
TEST_ONLY = {"recall_worst_class", "calibration_error", *SLICE_METRICS}
CALIBRATION_BINS = 15  # of equal width: Guo et al., On Calibration of Modern Neural Networks, ICML 2017


class ClassMetrics(NamedTuple):
    """Metrics of each class, all `(C,)`; `rows` is the number of rows that it is a label of.

    The average precision of a class without rows is NaN, since it is not defined.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    average_precision: np.ndarray
    rows: np.ndarray


def list_metrics(problem_type: ProblemType, num_classes: int, is_ordinal: bool = False) -> dict[str, str]:
    """The metrics of a test by their keys, in the order and with the names of the reports."""
    if problem_type == MULTI_LABEL:
        return MULTI_LABEL_METRICS | SLICE_METRICS
    top = TOP_METRICS if has_top(num_classes) else {}
    return SINGLE_LABEL_METRICS | top | (ORDINAL_METRICS if is_ordinal else {}) | SLICE_METRICS


def require_metric(key: str, metric: str, task: Task) -> None:
    """UserError, which names the param `key`, unless a validation of this task has the metric."""
    named = list_metrics(task.problem_type, len(task.labels), task.is_ordinal)
    known = [name for name in named if name not in TEST_ONLY]
    if metric not in known:
        is_multi_label = task.problem_type == MULTI_LABEL
        kind = "several labels a text" if is_multi_label else f"one of {len(task.labels)} labels a text"
        raise UserError(f"{key}: found {metric!r}; for {kind} allowed: {', '.join(known)}.")


def compute_metrics(predictions: LabelledPredictions) -> dict[str, float]:
    """The metrics of a validation as of the test; all are NaN for a model that has diverged."""
    if not np.isfinite(predictions.logits).all():
        shape = predictions.problem_type, predictions.logits.shape[1], predictions.is_ordinal
        return {name: float("nan") for name in list_metrics(*shape) if name not in TEST_ONLY}
    is_multi_label = isinstance(predictions, MultiLabelPredictions)
    values = score_label_sets(predictions) if is_multi_label else score_classes(predictions)
    if predictions.is_ordinal:
        values |= score_order(predictions.predicted, predictions.labels)
    values |= score_ranking(predictions) | {"loss": predictions.losses.mean()}
    return {name: float(value) for name, value in values.items()}


def compute_test_metrics(predictions: LabelledPredictions) -> dict[str, float]:
    """The content of `metrics/evaluate.json`: `compute_metrics` and what is computed on the test split only."""
    recalls = compute_class_metrics(predictions)
    lowest = {"recall_worst_class": float(recalls.recall[recalls.rows > 0].min())} if recalls.rows.any() else {}
    return (
        compute_metrics(predictions)
        | lowest
        | {"calibration_error": compute_calibration_error(predictions), "rows": len(predictions.labels)}
    )


def select_headlines(metrics: dict[str, float], problem_type: ProblemType) -> dict[str, float]:
    """The few of the test's metrics by which experiments are compared."""
    chosen = (*HEADLINES[problem_type], *SLICE_METRICS, "rows")
    return {name: metrics[name] for name in chosen if name in metrics}


def compute_class_metrics(predictions: LabelledPredictions) -> ClassMetrics:
    """Metrics of each class; precision, recall and F1 are 0 where they are not defined."""
    classes = range(predictions.logits.shape[1])
    precision, recall, f1, rows = precision_recall_fscore_support(
        predictions.labels, predictions.predicted, labels=classes, zero_division=0
    )
    has_rows = np.flatnonzero(rows)
    average_precision = np.full(len(rows), np.nan)
    if len(has_rows):
        average_precision[has_rows] = average_precision_score(
            get_memberships(predictions)[:, has_rows], predictions.probabilities[:, has_rows], average=None
        )
    return ClassMetrics(precision, recall, f1, average_precision, rows)


def compute_calibration_error(predictions: LabelledPredictions) -> float:
    """Expected calibration error: how far confidence is from accuracy in bins of confidence, on average over rows.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017. Of several labels a text: how far the probability
    of a label is from how often it is right, on average over all decisions.
    """
    bins = bin_by_confidence(predictions)
    gaps = (abs(one["confidence"] - one["accuracy"]) * one["rows"] for one in bins)
    return float(sum(gaps) / sum(one["rows"] for one in bins))


def bin_by_confidence(predictions: LabelledPredictions) -> list[dict[str, float]]:
    """Mean confidence, accuracy and number of rows of each bin of confidence that has rows, lowest bin first.

    Of several labels a text, a row is a decision about one label, its confidence is the label's probability, and its
    accuracy is how often texts have the label.
    """
    is_multi_label = isinstance(predictions, MultiLabelPredictions)
    confidence = predictions.probabilities.ravel() if is_multi_label else predictions.confidence
    correct = predictions.labels.ravel() if is_multi_label else predictions.correct
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        {
            "confidence": float(confidence[bins == number].mean()),
            "accuracy": float(correct[bins == number].mean()),
            "rows": int((bins == number).sum()),
        }
        for number in np.unique(bins)
    ]
