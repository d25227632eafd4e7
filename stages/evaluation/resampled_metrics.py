"""Metrics of many resamples at once, equal to those of scikit-learn, which takes one at a time.

R is the number of resamples, C of classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Resampled(NamedTuple):
    """Metrics by their names: `(R,)` each, and `(R, C)` those of each class."""

    overall: dict[str, np.ndarray]
    by_class: dict[str, np.ndarray]


def join(parts: Sequence[Resampled]) -> Resampled:
    """The resamples of all parts, which have the same metrics."""
    overall = {name: np.concatenate([part.overall[name] for part in parts]) for name in parts[0].overall}
    by_class = {name: np.concatenate([part.by_class[name] for part in parts]) for name in parts[0].by_class}
    return Resampled(overall, by_class)


def merge(parts: Sequence[Resampled]) -> Resampled:
    """Different metrics of the same resamples, or of as many."""
    overall = {name: values for part in parts for name, values in part.overall.items()}
    return Resampled(overall, {name: values for part in parts for name, values in part.by_class.items()})


def compute_table_metrics(tables: np.ndarray, is_ordinal: bool = False) -> Resampled:
    """Metrics of confusion tables `(R, actual, predicted)` of texts that have one class each."""
    correct = np.diagonal(tables, axis1=1, axis2=2)
    actual, predicted = tables.sum(axis=2), tables.sum(axis=1)
    rows = actual.sum(axis=1)
    averages, by_class = compute_count_metrics(correct, predicted, actual)
    overall = {name: values for name, values in averages.items() if not name.endswith("_micro")} | {
        "accuracy": correct.sum(axis=1) / rows,
        "balanced_accuracy": average(np.where(actual > 0, by_class["recall"], np.nan)),
        "matthews_corrcoef": compute_correlations(correct.sum(axis=1), predicted, actual),
    }
    if is_ordinal:
        classes = np.arange(tables.shape[1])
        distances = np.abs(classes[:, None] - classes)
        overall["mean_absolute_error"] = np.einsum("rap,ap->r", tables, distances) / rows
        found = np.einsum("rap,ap->r", tables, distances**2)
        by_chance = np.einsum("ra,ra->r", actual @ distances**2, predicted) / rows
        overall["quadratic_weighted_kappa"] = 1 - divide(found, by_chance, by_chance > 0)
    return Resampled(overall, by_class)


def compute_correlations(correct: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Matthews correlation `(R,)` from correct rows `(R,)`, and from predicted and actual rows of classes `(R, C)`.

    Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, 2004. 0 where it is 0 / 0.
    """
    predicted, actual = predicted.astype(float), actual.astype(float)  # whose products may exceed 64 bits
    rows = actual.sum(axis=1)
    covariance = correct * rows - (predicted * actual).sum(axis=1)
    variances = (rows**2 - np.square(predicted).sum(axis=1)) * (rows**2 - np.square(actual).sum(axis=1))
    return covariance / np.sqrt(np.where(variances > 0, variances, np.inf))


def compute_count_metrics(correct: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> Resampled:
    """Precision, recall and F1 of classes, and their averages, from numbers of rows, all `(R, C)`.

    NaN for a class that is neither actual nor predicted; it is left out of the macro average.
    """
    occurs = actual + predicted > 0
    parts = {"precision": (correct, predicted), "recall": (correct, actual), "f1": (2 * correct, actual + predicted)}
    by_class = {name: divide(part, total, occurs) for name, (part, total) in parts.items()}
    macro = {f"{name}_macro": average(values) for name, values in by_class.items()}
    micro = {
        f"{name}_micro": part.sum(axis=1) / np.maximum(total.sum(axis=1), 1) for name, (part, total) in parts.items()
    }
    weighted = (actual * np.nan_to_num(by_class["f1"])).sum(axis=1) / np.maximum(actual.sum(axis=1), 1)
    return Resampled(macro | micro | {"f1_weighted": weighted}, by_class)


def divide(part: np.ndarray, total: np.ndarray, is_defined: np.ndarray) -> np.ndarray:
    """`part / total`, 0 where `total` is 0, NaN where it is not defined at all."""
    return np.where(is_defined, part / np.where(total > 0, total, 1), np.nan)


def average(values: np.ndarray) -> np.ndarray:
    """The mean `(R,)` over the classes of `(R, C)` that are not NaN; NaN where all are."""
    known = ~np.isnan(values)
    return divide(np.where(known, values, 0).sum(axis=1), known.sum(axis=1), known.any(axis=1))
