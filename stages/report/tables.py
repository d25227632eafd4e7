"""The CSV tables of `evaluate`: predictions, metrics by class, mistakes, and what DVC plots."""

from collections.abc import Sequence
from pathlib import Path

from stages.core.csv_tables import write_csv
from stages.core.stage import STAGES
from stages.evaluation.metrics import compute_class_metrics
from stages.evaluation.predictions import LabelledPredictions

DECIMALS = 4  # of metrics and confidence


def write_predictions(predictions: LabelledPredictions, path: Path) -> None:
    """Write the prediction for each test row, in the order of the rows."""
    confidence = predictions.confidence.round(DECIMALS).tolist()
    rows = zip(predictions.label_names, predictions.predicted_names, confidence, strict=True)
    write_csv(path, ("actual", "predicted", "confidence"), rows)


def write_class_metrics(predictions: LabelledPredictions, path: Path) -> None:
    """Write precision, recall, F1 and the number of rows of each class."""
    *measures, counts = compute_class_metrics(predictions)
    rounded = [[round(float(value), DECIMALS) for value in values] for values in measures]
    rows = zip(predictions.names, *rounded, counts.tolist(), strict=True)
    write_csv(path, ("label", "precision", "recall", "f1", "rows"), rows)


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
    """Write the actual and the predicted class of each test row, which DVC's confusion matrix counts."""
    write_csv(path, ("actual", "predicted"), zip(predictions.label_names, predictions.predicted_names, strict=True))


def write_seconds(timings: dict[str, float], path: Path) -> None:
    """Write the seconds of each stage; the timings have them as `<stage>_seconds`."""
    rows = ((stage, timings[f"{stage}_seconds"]) for stage in STAGES if f"{stage}_seconds" in timings)
    write_csv(path, ("stage", "seconds"), rows)
