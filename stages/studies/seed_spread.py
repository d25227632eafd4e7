"""How much the seed alone changes the scores of a training, and which differences are more than that."""

from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95


class Spread(NamedTuple):
    """The scores that trainings which differ only in the seed have in one metric."""

    metric: str
    mean: float
    std: float  # of the sample, with count - 1
    low: float  # ends of the 95 % interval of the mean
    high: float
    min: float
    max: float


def summarize_seeds(values: dict[str, list[float]]) -> list[Spread]:
    """The spread of each metric over trainings that differ only in the seed, in the order of `values`.

    The interval of the mean is Student's t interval: few scores, about normal, with unknown variance. Raises
    ValueError below two trainings.
    """
    return [summarize_metric(metric, np.asarray(scores, dtype=float)) for metric, scores in values.items()]


def summarize_metric(metric: str, scores: np.ndarray) -> Spread:
    """The spread of scores `(S,)`, one a seed."""
    quantile = find_quantile(len(scores))
    mean, std = float(scores.mean()), float(scores.std(ddof=1))
    half = quantile * std / float(np.sqrt(len(scores)))
    return Spread(metric, mean, std, mean - half, mean + half, float(scores.min()), float(scores.max()))


def smallest_clear_difference(std: float, count: int) -> float:
    """The difference between two trainings, one of each kind, that the seed alone exceeds in 5 % of cases only.

    Both trainings have noise of the seed, so that their difference has a standard deviation of sqrt(2) `std`. `std`
    was estimated from `count` trainings, so that the quantile is Student's t with `count` - 1 degrees of freedom.
    Raises ValueError below two trainings.
    """
    return find_quantile(count) * float(np.sqrt(2)) * std


def describe_difference(difference: float, smallest_clear: float) -> str:
    """Whether the seed alone explains a difference.

    Such as `+0.0040 is less than what the seed alone can change (0.0121)`.
    """
    verdict = "more" if abs(difference) > smallest_clear else "less"
    return f"{difference:+.4f} is {verdict} than what the seed alone can change ({smallest_clear:.4f})"


def find_quantile(count: int) -> float:
    """The 0.975 quantile of Student's t for a standard deviation of `count` scores."""
    from scipy.stats import t  # takes half a second to import

    if count < 2:
        raise ValueError(f"the spread over seeds needs at least two trainings, and there are {count}")
    return float(t.ppf((1 + CONFIDENCE) / 2, count - 1))
