"""What the test split says of a model, in plain values: overall, by class, by confidence, by length, and mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.evaluation.intervals import bootstrap_mean, bootstrap_metrics, bootstrap_shares
from stages.evaluation.metrics import bin_by_confidence, compute_class_metrics
from stages.evaluation.predictions import LabelledPredictions

LENGTH_BINS = 5
MOST_CLASSES = 20  # in a table by class, or a confusion matrix with numbers
MOST_CHARACTERS = 1000  # of a text that is shown


@dataclass(frozen=True)
class Summary:
    """The results on test; an interval is its low and high end, 95 %."""

    metrics: dict[str, float]  # as in metrics/evaluate.json
    intervals: dict[str, list[float]]  # of the metrics that have one
    names: Sequence[str]  # of the classes, (C,)
    confusion: np.ndarray  # (C, C): actual, predicted
    classes: list[dict[str, Any]]  # name, rows; precision, recall and f1 as (value, low, high)
    confused: list[dict[str, Any]]  # actual, predicted, rows
    calibration: list[dict[str, Any]]  # confidence, accuracy, rows, interval of the accuracy
    lengths: list[dict[str, Any]]  # shortest, longest, rows; accuracy as (value, low, high)
    mistakes: list[dict[str, Any]]  # row, actual, predicted, confidence, text


def summarize(
    predictions: LabelledPredictions,
    metrics: dict[str, float],
    lengths: np.ndarray,
    texts: Sequence[str],
    num_mistakes: int,
    seed: int,
) -> Summary:
    """Summarize predictions of N texts; `metrics` are theirs, `lengths` `(N,)` are in tokens."""
    intervals = bootstrap_metrics(predictions.confusion, seed)
    overall = {name: ends.tolist() for name, ends in intervals.items() if ends.ndim == 1}
    return Summary(
        metrics=metrics,
        intervals=overall | {"loss": bootstrap_mean(predictions.losses, seed).tolist()},
        names=predictions.names,
        confusion=predictions.confusion,
        classes=describe_classes(predictions, intervals),
        confused=find_most_confused(predictions),
        calibration=describe_calibration(predictions, seed),
        lengths=group_by_length(lengths, predictions.correct, seed),
        mistakes=describe_mistakes(predictions, texts, num_mistakes),
    )


def describe_classes(predictions: LabelledPredictions, intervals: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Metrics of each class in the model's order; of many classes those with the lowest F1, lowest first."""
    metrics = compute_class_metrics(predictions)
    count = len(predictions.names)
    order = range(count) if count <= MOST_CLASSES else np.argsort(metrics.f1, kind="stable")[:MOST_CLASSES]

    def find_interval(measure: str, index: int) -> tuple[float, ...]:
        return (float(getattr(metrics, measure)[index]), *map(float, intervals[measure][:, index]))

    return [
        {"name": predictions.names[index], "rows": int(metrics.rows[index])}
        | {measure: find_interval(measure, index) for measure in ("precision", "recall", "f1")}
        for index in order
    ]


def find_most_confused(predictions: LabelledPredictions) -> list[dict[str, Any]]:
    """The pairs of an actual and a predicted class that have the most mistakes, most first."""
    names = predictions.names
    mistakes = predictions.confusion * (1 - np.eye(len(names), dtype=int))
    cells = np.argsort(-mistakes, axis=None, kind="stable")[:MOST_CLASSES]
    return [
        {"actual": names[actual], "predicted": names[predicted], "rows": int(mistakes[actual, predicted])}
        for actual, predicted in (divmod(int(cell), len(names)) for cell in cells)
        if mistakes[actual, predicted]
    ]


def describe_calibration(predictions: LabelledPredictions, seed: int) -> list[dict[str, Any]]:
    """The bins of `bin_by_confidence`, with intervals of their accuracy."""
    bins = bin_by_confidence(predictions)
    rows = np.array([one["rows"] for one in bins])
    accuracy = np.array([one["accuracy"] for one in bins])
    ends = bootstrap_shares(np.rint(accuracy * rows), rows, seed)
    return [one | {"interval": interval} for one, interval in zip(bins, ends.T.tolist(), strict=True)]


def group_by_length(lengths: np.ndarray, correct: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Rows and accuracy in groups of about equal size, by tokens; fewer where many texts have the same length."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, LENGTH_BINS + 1)[1:], method="higher"))
    group = np.searchsorted(edges, lengths)
    rows = np.bincount(group, minlength=len(edges))
    correct_rows = np.bincount(group, weights=correct, minlength=len(edges))
    ends = bootstrap_shares(correct_rows, rows, seed)
    return [
        {
            "shortest": int(lengths[group == number].min()),
            "longest": int(lengths[group == number].max()),
            "rows": int(rows[number]),
            "accuracy": (float(correct_rows[number] / rows[number]), *ends[:, number].tolist()),
        }
        for number in range(len(edges))
    ]


def describe_mistakes(predictions: LabelledPredictions, texts: Sequence[str], count: int) -> list[dict[str, Any]]:
    """The most confident mistakes; long texts are truncated."""
    return [
        {
            "row": int(row),
            "actual": predictions.label_names[row],
            "predicted": predictions.predicted_names[row],
            "confidence": float(predictions.confidence[row]),
            "text": truncate_text(texts[row]),
        }
        for row in predictions.find_most_confident_mistakes(count)
    ]


def truncate_text(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " …"
