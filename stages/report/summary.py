"""What the test split says of a model, in plain values: overall, by class, confidence, length and slice; mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.core.errors import to_printable
from stages.evaluation.intervals import (
    RESAMPLES,
    Intervals,
    bootstrap_metrics,
    bootstrap_shares,
    leave_out_biased,
)
from stages.evaluation.metrics import bin_by_confidence, compute_class_metrics, list_metrics
from stages.evaluation.predictions import LabelledPredictions, MultiLabelPredictions
from stages.evaluation.slices import Slice

LENGTH_BINS = 5
MOST_CLASSES = 20  # in a table by class, or a confusion matrix with numbers
MOST_CHARACTERS = 1000  # of a text that is shown


@dataclass(frozen=True)
class Summary:
    """The results on test; an interval is its low and high end, 95 %."""

    is_multi_label: bool
    metrics: dict[str, float]  # as in metrics/evaluate.json
    labels: dict[str, str]  # what the metrics that are shown are called
    intervals: dict[str, list[float]]  # of the metrics that have one
    resamples: int  # of intervals of metrics that come from a confusion table
    row_resamples: int  # of those that do not
    names: Sequence[str]  # of the classes, (C,)
    has_thresholds: bool  # that were fitted
    confusion: np.ndarray  # (C, C), or (C + 1, C + 1) for several labels a text: actual, predicted
    confusion_names: Sequence[str]
    classes: list[dict[str, Any]]  # name, rows; precision, recall, f1 and average_precision as (value, low, high)
    confused: list[dict[str, Any]]  # actual, predicted, rows
    calibration: list[dict[str, Any]]  # confidence, accuracy, rows, interval of the accuracy
    lengths: list[dict[str, Any]]  # shortest, longest, rows; accuracy as (value, low, high)
    slices: dict[str, list[Slice]]  # by column, the largest first
    mistakes: list[dict[str, Any]]  # row, actual, predicted, confidence, text


def describe_one_answer(predictions: LabelledPredictions) -> str | None:
    """What to do when all texts get the same class, though they are of several; None otherwise."""
    if isinstance(predictions, MultiLabelPredictions):
        return None
    given = set(predictions.predicted_names)
    if len(given) > 1 or given == set(predictions.label_names):
        return None
    (name,) = given
    return (
        f"the model gives every test row the label {to_printable(name)}: it has not learned to tell them apart. More "
        "epochs (train.num_train_epochs), another learning rate, fewer frozen layers or more rows may help."
    )


def summarize(
    predictions: LabelledPredictions,
    metrics: dict[str, float],
    lengths: np.ndarray,
    texts: Sequence[str],
    num_mistakes: int,
    seed: int,
    slices: Sequence[Slice] = (),
) -> Summary:
    """Summarize predictions of N texts; metrics and slices are theirs, `lengths` `(N,)` are in tokens."""
    intervals = bootstrap_metrics(predictions, seed)
    is_multi_label = isinstance(predictions, MultiLabelPredictions)
    known = list_metrics(predictions.problem_type, len(predictions.names), predictions.is_ordinal)
    return Summary(
        is_multi_label=is_multi_label,
        metrics=metrics,
        labels={name: label for name, label in known.items() if name in metrics},
        intervals={
            name: leave_out_biased(metrics[name], ends) for name, ends in intervals.overall.items() if name in metrics
        },
        resamples=intervals.row_resamples if is_multi_label else RESAMPLES,
        row_resamples=intervals.row_resamples,
        names=predictions.names,
        has_thresholds=predictions.thresholds is not None,
        confusion=predictions.confusion,
        confusion_names=predictions.confusion_names,
        classes=describe_classes(predictions, intervals),
        confused=find_most_confused(predictions),
        calibration=describe_calibration(predictions, seed),
        lengths=group_by_length(lengths, predictions.correct, seed),
        slices=group_by_column(slices),
        mistakes=describe_mistakes(predictions, texts, num_mistakes),
    )


def group_by_column(slices: Sequence[Slice]) -> dict[str, list[Slice]]:
    """The slices of each column, in their order."""
    groups: dict[str, list[Slice]] = {}
    for one in slices:
        groups.setdefault(one.column, []).append(one)
    return groups


def describe_classes(predictions: LabelledPredictions, intervals: Intervals) -> list[dict[str, Any]]:
    """Metrics of each class in the model's order; of many classes those with the lowest F1, lowest first."""
    metrics = compute_class_metrics(predictions)
    count = len(predictions.names)
    order = range(count) if count <= MOST_CLASSES else np.argsort(metrics.f1, kind="stable")[:MOST_CLASSES]

    def find_interval(measure: str, index: int) -> tuple[float, ...]:
        value = float(getattr(metrics, measure)[index])
        return value, *leave_out_biased(value, intervals.by_class[measure][:, index])

    return [
        {"name": predictions.names[index], "rows": int(metrics.rows[index])}
        | {measure: find_interval(measure, index) for measure in intervals.by_class}
        for index in order
    ]


def find_most_confused(predictions: LabelledPredictions) -> list[dict[str, Any]]:
    """The pairs of an actual and a predicted class that have the most mistakes, most first."""
    names = predictions.confusion_names
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
            "actual": name_labels(predictions, predictions.labels[row]),
            "predicted": name_labels(predictions, predictions.predicted[row]),
            "confidence": float(predictions.confidence[row]),
            "text": truncate_text(texts[row]),
        }
        for row in predictions.find_most_confident_mistakes(count)
    ]


def name_labels(predictions: LabelledPredictions, labels: np.ndarray) -> str:
    """The name of the class, or of the labels that are chosen, bool `(C,)`."""
    if not isinstance(predictions, MultiLabelPredictions):
        return predictions.names[int(labels)]
    return ", ".join(predictions.names[index] for index in np.flatnonzero(labels).tolist()) or "no label"


def truncate_text(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " …"
