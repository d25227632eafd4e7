"""What is fitted to the best model after its training, on validation: its temperature and its thresholds.

Both change no training, and are written into the model: the temperature into the head's weights, both into its config.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from stages.core.errors import MOST_NAMES, to_one_line
from stages.core.param_sections import Train
from stages.core.problem_type import MULTI_LABEL
from stages.evaluation.calibration import compute_loss, fit_temperature
from stages.evaluation.predictions import LabelledMultiLabelPredictions, LabelledPredictions
from stages.evaluation.thresholds import fit_thresholds, parse_goal
from stages.model.temperature import scale_head
from stages.training.inputs import Inputs
from stages.training.prediction import predict_rows


class Calibration(NamedTuple):
    """What was fitted: nothing, unless params ask for it."""

    temperature: float | None = None
    threshold: float | None = None  # of the answers; where a text may have several labels, only config.json has them

    def describe(self) -> dict[str, Any]:
        """What `metrics/train.json` has of it."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def calibrate(inputs: Inputs, train: Train, precision: str) -> Calibration:
    """Fit what `train.calibration` and `train.threshold` ask for, and write it into the model of the inputs.

    Validation is predicted once; with cached features only the part that trains runs. UserError for a goal that no
    threshold reaches.
    """
    if train.calibration == "none" and train.threshold is None:
        return Calibration()
    validation = predict_rows(inputs, "validation", precision, train.per_device_eval_batch_size)
    temperature = None
    if train.calibration == "temperature":
        temperature = fit_temperature(validation.predict)
        print(describe_temperature(validation.predict(), validation.predict(temperature), temperature))
    threshold = None
    if train.threshold is not None:
        predictions = validation.predict(temperature or 1.0)
        fitted = fit_thresholds(parse_goal(train.threshold), predictions)
        print(describe_thresholds(train.threshold, replace(predictions, thresholds=fitted)))
        inputs.model.config.thresholds = fitted.tolist()
        threshold = None if validation.problem_type == MULTI_LABEL else float(fitted[0])
    if temperature is not None:
        scale_head(inputs.model, temperature)
    return Calibration(temperature, threshold)


def describe_temperature(before: LabelledPredictions, after: LabelledPredictions, temperature: float) -> str:
    """A line about the temperature, and about the losses before and after."""
    if temperature == 1:
        return "temperature 1: no other one lowers the loss on validation, or there are too few mistakes to fit one"
    losses = f"{compute_loss(before):.4f} to {compute_loss(after):.4f}"
    return f"temperature {temperature:g}: it takes the loss on validation from {losses}"


def describe_thresholds(goal: str, predictions: LabelledPredictions) -> str:
    """A line about the thresholds of predictions for validation, which reach the goal."""
    thresholds = predictions.thresholds
    assert thresholds is not None
    if not isinstance(predictions, LabelledMultiLabelPredictions):
        accuracy = predictions.correct[predictions.answered].mean()
        answers = f"{predictions.answered.mean():.1%} of validation is answered, {accuracy:.1%} of it correctly"
        return f"threshold {thresholds[0]:g} for {goal}: {answers}"
    shown = zip(predictions.names, thresholds[:MOST_NAMES], strict=False)
    values = ", ".join(f"{to_one_line(name)} {threshold:g}" for name, threshold in shown)
    return f"thresholds for {goal} on validation: {values}{', ...' * (len(thresholds) > MOST_NAMES)}"
