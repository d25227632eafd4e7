"""What `evaluate` leaves for a person to read: tables by class and of mistakes, and the confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from stages.core.csv_tables import write_csv
from stages.evaluation.metrics import log_softmax
from stages.report.curves import draw_confusion


def write_reports(
    logits: np.ndarray,
    labels: np.ndarray,
    names: list[str],
    texts: Sequence[str],
    num_mistakes: int,
    reports: Path,
    plots: Path,
) -> None:
    """Write tables by class, of mistakes and of all predictions to `reports`, the confusion matrix to `plots`.

    Row i of logits `(N, C)`, label indices `(N,)` and texts belong together.
    """
    predicted = logits.argmax(-1)
    write_by_class(labels, predicted, names, reports / "by_class.csv")
    write_mistakes(logits, labels, names, texts, num_mistakes, reports / "mistakes.csv")
    confidence = np.exp(log_softmax(logits).max(-1)).round(4)
    columns = ([names[label] for label in labels], [names[label] for label in predicted], confidence.tolist())
    write_csv(reports / "predictions.csv", ("actual", "predicted", "confidence"), zip(*columns, strict=True))
    pairs = ((names[actual], names[guess]) for actual, guess in zip(labels, predicted, strict=True))
    write_csv(plots / "confusion.csv", ("actual", "predicted"), pairs)
    draw_confusion(labels, predicted, names, plots / "confusion_matrix.png")


def write_by_class(labels: np.ndarray, predicted: np.ndarray, names: list[str], path: Path) -> None:
    columns = precision_recall_fscore_support(labels, predicted, labels=range(len(names)), zero_division=0)
    rows = [
        (name, *(round(float(value), 4) for value in values[:3]), int(values[3]))
        for name, values in zip(names, zip(*columns, strict=True), strict=True)
    ]
    write_csv(path, ("label", "precision", "recall", "f1", "rows"), rows)


def write_mistakes(
    logits: np.ndarray, labels: np.ndarray, names: list[str], texts: Sequence[str], count: int, path: Path
) -> None:
    """The wrong answers that the model gave with the highest probability, surest first."""
    predicted, surest = logits.argmax(-1), surest_mistakes(logits, labels, count)
    rows = (
        (row, names[labels[row]], names[predicted[row]], round(sure, 4), texts[row])
        for row, sure in zip(*(part.tolist() for part in surest), strict=True)
    )
    write_csv(path, ("row", "actual", "predicted", "confidence", "text"), rows)


def surest_mistakes(logits: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers and confidence of the wrong answers given with the highest probability, surest first."""
    confidence = np.exp(log_softmax(logits).max(-1))
    wrong = np.flatnonzero(logits.argmax(-1) != labels)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return surest, confidence[surest]
