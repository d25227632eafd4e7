"""The CSV tables of `evaluate`: predictions, metrics by class and slice, mistakes, and what DVC plots."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from stages.core.csv_tables import write_csv
from stages.core.stage import STAGES
from stages.evaluation.metrics import compute_class_metrics
from stages.evaluation.predictions import LabelledPredictions, MultiLabelPredictions
from stages.evaluation.slices import Slice

DECIMALS = 4  # of metrics and confidence


def write_predictions(predictions: LabelledPredictions, path: Path) -> None:
    """Write the prediction for each test row, in the order of the rows."""
    confidence = predictions.confidence.round(DECIMALS).tolist()
    rows = zip(predictions.label_names, predictions.predicted_names, confidence, strict=True)
    write_csv(path, ("actual", "predicted", "confidence"), rows)


def write_class_metrics(predictions: LabelledPredictions, path: Path) -> None:
    """Write precision, recall, F1, average precision and the number of rows of each class."""
    *measures, counts = compute_class_metrics(predictions)
    rounded = [[round_measure(float(value)) for value in values] for values in measures]
    rows = zip(predictions.names, *rounded, counts.tolist(), strict=True)
    write_csv(path, ("label", "precision", "recall", "f1", "average_precision", "rows"), rows)


def write_slices(slices: Sequence[Slice], is_multi_label: bool, path: Path) -> None:
    """Write the results on each slice, with the ends of their intervals; without slices there is only the header."""
    measures = ("accuracy", "f1_micro") if is_multi_label else ("accuracy",)
    header = [name for measure in measures for name in (measure, f"{measure}_low", f"{measure}_high")]
    rows = (
        (one.column, one.value, one.rows, *map(round_measure, one.accuracy), *map(round_measure, one.f1_micro or ()))
        for one in slices
    )
    write_csv(path, ("column", "value", "rows", *header), rows)


def round_measure(value: float) -> float | str:
    """As tables have it; empty where it is not defined."""
    return "" if math.isnan(value) else round(value, DECIMALS)


def write_mistakes(predictions: LabelledPredictions, texts: Sequence[str], count: int, path: Path) -> None:
    """Write the most confident mistakes with their complete texts, the most confident first."""
    rows = (
        (
            row,
            predictions.label_names[row],
            predictions.predicted_names[row],
            round(float(predictions.confidence[row]), DECIMALS),
            texts[row],
        )
        for row in predictions.find_most_confident_mistakes(count).tolist()
    )
    write_csv(path, ("row", "actual", "predicted", "confidence", "text"), rows)


def write_confusion(predictions: LabelledPredictions, path: Path) -> None:
    """Write the actual and the predicted class of each test row, which DVC's confusion matrix counts.

    Of several labels a text, each row is a decision in which a label is actual or predicted.
    """
    pairs: Iterable[tuple[str, str]] = zip(predictions.label_names, predictions.predicted_names, strict=True)
    if isinstance(predictions, MultiLabelPredictions):
        names, table = predictions.confusion_names, predictions.confusion
        cells = np.repeat(np.arange(table.size), table.ravel()).tolist()
        pairs = ((names[cell // len(names)], names[cell % len(names)]) for cell in cells)
    write_csv(path, ("actual", "predicted"), pairs)


def write_seconds(timings: dict[str, float], path: Path) -> None:
    """Write the seconds of each stage; the timings have them as `<stage>_seconds`."""
    rows = ((stage, timings[f"{stage}_seconds"]) for stage in STAGES if f"{stage}_seconds" in timings)
    write_csv(path, ("stage", "seconds"), rows)
