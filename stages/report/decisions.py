"""What temperature and thresholds, which were fitted on validation, do on the test rows; in plain values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.evaluation.calibration import compare_calibration
from stages.evaluation.predictions import LabelledMultiLabelPredictions, LabelledPredictions
from stages.evaluation.thresholds import coverage_curve
from stages.report.coverage import draw_coverage
from stages.report.summary import MOST_CLASSES


@dataclass(frozen=True)
class Decisions:
    """What pages show of calibration and thresholds; what was not fitted is empty."""

    temperature: float | None = None
    calibration: dict[str, dict[str, float]] = field(default_factory=dict)  # `before` and `after`, with a temperature
    # Of one label a text: coverage, accuracy and threshold of each point.
    coverage: list[dict[str, float]] = field(default_factory=list)
    answered: dict[str, float] | None = None  # the same of the threshold that was fitted; accuracy NaN without answers
    label_thresholds: list[dict[str, Any]] = field(default_factory=list)  # name, threshold, precision, recall, rows

    def draw_figures(self) -> dict[str, str]:
        """The figures of the report, as SVG by the name by which it places them."""
        return {"coverage": draw_coverage(self.coverage, self.answered)} if self.coverage else {}


NOTHING_FITTED = Decisions()


def describe_decisions(predict_at: Callable[[float], LabelledPredictions], temperature: float | None) -> Decisions:
    """What was fitted, measured on test.

    `predict_at` divides the logits of the finished model by a number; they are divided by `temperature` already.
    """
    predictions = predict_at(1.0)
    calibration = {} if temperature is None else compare_calibration(predict_at, temperature)
    if isinstance(predictions, LabelledMultiLabelPredictions):
        return Decisions(temperature, calibration, label_thresholds=describe_label_thresholds(predictions))
    return Decisions(temperature, calibration, coverage_curve(predictions), describe_answered(predictions))


def describe_answered(predictions: LabelledPredictions) -> dict[str, float] | None:
    """Coverage and accuracy at the model's threshold; None when it has none."""
    if predictions.thresholds is None:
        return None
    answered = predictions.answered
    accuracy = predictions.correct[answered].mean() if answered.any() else np.nan
    return {
        "coverage": float(answered.mean()),
        "accuracy": float(accuracy),
        "threshold": float(predictions.thresholds[0]),
    }


def describe_label_thresholds(predictions: LabelledMultiLabelPredictions) -> list[dict[str, Any]]:
    """Precision and recall of each label at its threshold, 0 where they are not defined; nothing without thresholds.

    In the model's order; of many labels those with the lowest F1, lowest first.
    """
    if predictions.thresholds is None:
        return []
    hits = (predictions.labels & predictions.predicted).sum(0)
    rows, given = predictions.labels.sum(0), predictions.predicted.sum(0)
    f1 = 2 * hits / np.maximum(rows + given, 1)
    count = len(predictions.names)
    order = range(count) if count <= MOST_CLASSES else np.argsort(f1, kind="stable")[:MOST_CLASSES]
    return [
        {
            "name": predictions.names[index],
            "threshold": float(predictions.thresholds[index]),
            "precision": float(hits[index] / max(given[index], 1)),
            "recall": float(hits[index] / max(rows[index], 1)),
            "rows": int(rows[index]),
        }
        for index in order
    ]
