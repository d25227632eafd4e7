"""Calibration: one temperature, by which all logits are divided, makes a model as sure as it is right on validation.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017. The order of a row's logits
stays, and with it the label; that of a text in windows may change, because the mean over them is another one.
"""

import math
from collections.abc import Callable

from stages.evaluation.metrics import compute_calibration_error
from stages.evaluation.predictions import LabelledPredictions

# At the lower end a logit that is higher by 1 is a probability of 0.999999998, at the higher end one that is higher by
# 10 is one of 0.62. Trained models need 0.5 to 5.
LOWEST, HIGHEST = 0.05, 20.0
DIGITS = 6  # significant ones; the loss is flat around its minimum, and more digits would be noise

PredictAt = Callable[[float], LabelledPredictions]  # temperature → predictions from the logits divided by it


def fit_temperature(predict_at: PredictAt) -> float:
    """The temperature with the lowest mean loss; 1.0 where none from `LOWEST` to `HIGHEST` is better.

    `predict_at(temperature)` divides the logits of windows and pools them after it: the mean over windows is no longer
    the same temperature away. Its logarithm is searched by Brent's method, about 25 calls; the loss has one minimum in
    it where nothing is pooled.

    Where validation has no mistake a lower temperature is always better, and the best is the lower bound: all
    probabilities would be 1. This says nothing about new texts, and equal probabilities cannot be put in order. It is
    1.0 then, too, and where mistakes are so close that the lower bound is best.
    """
    from scipy.optimize import minimize_scalar

    before = predict_at(1.0)
    if before.correct.all():
        return 1.0
    found = minimize_scalar(
        lambda logarithm: compute_loss(predict_at(math.exp(logarithm))),
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    temperature = float(f"{math.exp(found.x):.{DIGITS}g}")
    is_at_lower_bound = temperature < LOWEST * 1.001
    is_better = compute_loss(predict_at(temperature)) < compute_loss(before)
    return temperature if is_better and not is_at_lower_bound else 1.0


def compute_loss(predictions: LabelledPredictions) -> float:
    """The mean loss of all rows, in nats."""
    return float(predictions.losses.mean())


def compare_calibration(predict_at: PredictAt, temperature: float) -> dict[str, dict[str, float]]:
    """Expected calibration error and loss `before` and `after` calibration, as `calibration_error` and `loss`.

    `predict_at` divides the logits of the calibrated model, so that those before have the inverse as their temperature.
    """
    predictions = {"before": predict_at(1 / temperature), "after": predict_at(1.0)}
    return {
        name: {"calibration_error": compute_calibration_error(one), "loss": compute_loss(one)}
        for name, one in predictions.items()
    }
