"""Metrics of labelled predictions, computed by scikit-learn: of classes, of sets of labels, of an order, of rankings.

A class that is neither among the labels nor predicted is left out of macro averages. A metric that is not defined for
the labels at hand, such as ROC AUC where all rows have the same class, is left out.
"""

import warnings

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    f1_score,
    hamming_loss,
    matthews_corrcoef,
    mean_absolute_error,
    precision_recall_fscore_support,
    roc_auc_score,
    top_k_accuracy_score,
)

from stages.evaluation.predictions import LabelledPredictions, MultiLabelPredictions

TOP = 3


def score_classes(predictions: LabelledPredictions) -> dict[str, float]:
    """Metrics of texts that have one class each: of the predicted classes, and of the probabilities."""
    labels, predicted, probabilities = predictions.labels, predictions.predicted, predictions.probabilities
    classes = np.arange(probabilities.shape[1])
    precision, recall, f1, _ = precision_recall_fscore_support(labels, predicted, average="macro", zero_division=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes without rows, which have no recall
        balanced = balanced_accuracy_score(labels, predicted)
        correlation = matthews_corrcoef(labels, predicted)
    values = {
        "accuracy": accuracy_score(labels, predicted),
        "balanced_accuracy": balanced,
        "matthews_corrcoef": correlation,
        "precision_macro": precision,
        "recall_macro": recall,
        "f1_macro": f1,
        "f1_weighted": f1_score(labels, predicted, average="weighted", zero_division=0),
        "brier_score": brier_score_loss(labels, probabilities, labels=classes),
    }
    if has_top(len(classes)):
        values["top_3_accuracy"] = top_k_accuracy_score(labels, probabilities, k=TOP, labels=classes)
    return values


def has_top(classes: int) -> bool:
    """Whether it says something that a class is among the three most likely; of five classes they are most."""
    return classes > 5


def is_among_top(predictions: LabelledPredictions) -> np.ndarray:
    """Whether the actual class of each row is among the `TOP` most likely, the last ones of equal ones, bool `(N,)`."""
    order = np.argsort(predictions.probabilities, axis=1, kind="stable")
    return (order[:, -TOP:] == predictions.labels[:, None]).any(axis=1)


def score_order(predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Metrics of classes that have an order: how many classes apart predicted and actual ones are, both `(N,)`."""
    values = {"mean_absolute_error": float(mean_absolute_error(labels, predicted))}
    if labels.min() != labels.max() or (predicted != labels[0]).any():  # else kappa is 0 / 0
        values["quadratic_weighted_kappa"] = float(cohen_kappa_score(labels, predicted, weights="quadratic"))
    return values


def score_label_sets(predictions: LabelledPredictions) -> dict[str, float]:
    """Metrics of texts that have any number of labels: of the decisions, and of the probabilities.

    A text without labels that gets none adds 1 to `f1_samples`.
    """
    labels, predicted = predictions.labels, predictions.predicted
    occurring = np.flatnonzero(labels.any(0) | predicted.any(0))
    values = {
        "accuracy": accuracy_score(labels, predicted),
        "hamming_loss": hamming_loss(labels, predicted),
        "f1_weighted": f1_score(labels, predicted, average="weighted", zero_division=0),
        # A text without labels that gets none is right: 1, not 0 as by default.
        "f1_samples": f1_score(labels, predicted, average="samples", zero_division=1),
        "brier_score": np.square(predictions.probabilities - labels).mean(),
    }
    for average in ("micro", "macro"):
        shown = occurring if average == "macro" and len(occurring) else None
        scores = precision_recall_fscore_support(labels, predicted, labels=shown, average=average, zero_division=0)
        values |= {
            f"{name}_{average}": score for name, score in zip(("precision", "recall", "f1"), scores, strict=False)
        }
    if labels.any():
        values["average_precision_micro"] = average_precision_score(labels, predictions.probabilities, average="micro")
    return values


def score_ranking(predictions: LabelledPredictions) -> dict[str, float]:
    """How well the probability of a class separates the rows that have it from the others, as the mean over classes.

    Of two classes, the ROC AUC of one is that of the other.
    """
    belongs, probabilities = get_memberships(predictions), predictions.probabilities
    has_rows, has_others = belongs.any(0), ~belongs.all(0)
    ranked, both = np.flatnonzero(has_rows), np.flatnonzero(has_rows & has_others)
    if belongs.shape[1] == 2 and not isinstance(predictions, MultiLabelPredictions):
        both = both[-1:]
    values = {}
    if len(both):
        values["roc_auc"] = roc_auc_score(belongs[:, both], probabilities[:, both])
    if len(ranked):
        values["average_precision"] = average_precision_score(belongs[:, ranked], probabilities[:, ranked])
    return values


def get_memberships(predictions: LabelledPredictions) -> np.ndarray:
    """Whether each row has each class, bool `(N, C)`."""
    if isinstance(predictions, MultiLabelPredictions):
        return predictions.labels
    return predictions.labels[:, None] == np.arange(predictions.logits.shape[1])
