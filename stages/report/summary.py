"""What the test split says of a model, in plain values: overall, by class, by confidence, by length, and mistakes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from stages.evaluation.intervals import mean_interval, metric_intervals, share_intervals
from stages.evaluation.metrics import calibration_bins, log_softmax
from stages.report.tables import surest_mistakes

LENGTH_BINS = 5
MOST_CLASSES = 20  # in a table by class, or a confusion matrix with numbers
MOST_CHARACTERS = 1000  # of a text that is shown


def summarize(
    logits: np.ndarray,
    labels: np.ndarray,
    names: list[str],
    lengths: np.ndarray,
    texts: Sequence[str],
    num_mistakes: int,
    seed: int,
) -> dict[str, Any]:
    """All results with their intervals. Row i of logits `(N, C)`, labels, lengths in tokens and texts go together."""
    predicted = logits.argmax(-1)
    intervals = metric_intervals(labels, predicted, len(names), seed)
    losses = -log_softmax(logits)[np.arange(len(labels)), labels]
    table = np.bincount(labels * len(names) + predicted, minlength=len(names) ** 2).reshape(len(names), -1)
    return {
        "intervals": {name: ends.tolist() for name, ends in intervals.items() if ends.ndim == 1}
        | {"loss": mean_interval(losses, seed).tolist()},
        "confusion": table,
        "classes": by_class(labels, predicted, names, intervals),
        "confused": most_confused(table, names),
        "calibration": by_confidence(logits, labels, seed),
        "lengths": by_length(lengths, predicted == labels, seed),
        "mistakes": mistakes(logits, labels, names, texts, num_mistakes),
        "names": names,
    }


def by_class(
    labels: np.ndarray, predicted: np.ndarray, names: list[str], intervals: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class, those found worst first where there are many."""
    *columns, rows = precision_recall_fscore_support(labels, predicted, labels=range(len(names)), zero_division=0)
    order = range(len(names)) if len(names) <= MOST_CLASSES else np.argsort(columns[2], kind="stable")[:MOST_CLASSES]
    return [
        {"name": names[number], "rows": int(rows[number])}
        | {
            measure: (float(values[number]), *map(float, intervals[measure][:, number]))
            for measure, values in zip(("precision", "recall", "f1"), columns, strict=True)
        }
        for number in order
    ]


def most_confused(table: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
    """The pairs of classes that are taken for each other most often."""
    wrong = table * (1 - np.eye(len(table), dtype=int))
    pairs = [divmod(int(cell), len(table)) for cell in np.argsort(-wrong, axis=None, kind="stable")[:MOST_CLASSES]]
    return [
        {"actual": names[actual], "predicted": names[guess], "rows": int(wrong[actual, guess])}
        for actual, guess in pairs
        if wrong[actual, guess]
    ]


def by_confidence(logits: np.ndarray, labels: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """`calibration_bins` with intervals of their accuracy."""
    bins = calibration_bins(logits, labels)
    rows, accuracy = (np.array([one[key] for one in bins]) for key in ("rows", "accuracy"))
    ends = share_intervals(np.rint(accuracy * rows), rows, seed)
    return [one | {"interval": pair} for one, pair in zip(bins, ends.T.tolist(), strict=True)]


def by_length(lengths: np.ndarray, right: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Rows and accuracy in groups of about equal size, by tokens; fewer groups where many texts are of one length."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, LENGTH_BINS + 1)[1:], method="higher"))
    group = np.searchsorted(edges, lengths)
    rows = np.bincount(group, minlength=len(edges))
    found = np.bincount(group, weights=right, minlength=len(edges))
    ends = share_intervals(found, rows, seed)
    return [
        {
            "shortest": int(lengths[group == number].min()),
            "longest": int(lengths[group == number].max()),
            "rows": int(rows[number]),
            "accuracy": (float(found[number] / rows[number]), *ends[:, number].tolist()),
        }
        for number in range(len(edges))
    ]


def mistakes(
    logits: np.ndarray, labels: np.ndarray, names: list[str], texts: Sequence[str], count: int
) -> list[dict[str, Any]]:
    """The surest mistakes, their texts cut where they are long."""
    rows, confidence = surest_mistakes(logits, labels, count)
    return [
        {
            "row": int(row),
            "actual": names[labels[row]],
            "predicted": names[logits[row].argmax()],
            "confidence": float(sure),
            "text": texts[row] if len(texts[row]) <= MOST_CHARACTERS else texts[row][:MOST_CHARACTERS] + " …",
        }
        for row, sure in zip(rows, confidence, strict=True)
    ]
