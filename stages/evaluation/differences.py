"""How two samples of texts differ: in lengths, in what a model says of them, and in metrics where labels are known.

The interval of a difference is that of independent samples: both are resampled, each by itself. R is the number of
resamples, N of rows, C of classes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from stages.core.problem_type import NO_LABEL
from stages.evaluation.intervals import draw_metrics, find_ends, leave_out_biased
from stages.evaluation.metrics import compute_metrics, list_metrics
from stages.evaluation.predictions import LabelledPredictions, Predictions
from stages.evaluation.row_resamples import draw_weights

QUANTILES = (0.1, 0.5, 0.9)
LENGTHS = ("Tokens of a text, mean", *(f"Tokens of a text, {share:.0%} quantile" for share in QUANTILES))
UNKNOWN = "Unknown tokens"


class Comparison(NamedTuple):
    """A number of two samples; each of the three is (value, low, high), with the ends of its 95 % interval."""

    name: str
    reference: tuple[float, ...]
    new: tuple[float, ...]
    difference: tuple[float, ...]  # new - reference
    is_share: bool  # whether 0.5 means 50 %

    @property
    def is_clear(self) -> bool:
        """Whether 0 is outside of the interval of the difference."""
        return self.difference[1] > 0 or self.difference[2] < 0


class TextSample(NamedTuple):
    """What is known of N texts without their labels."""

    lengths: np.ndarray  # in tokens, `(N,)`
    unknown: np.ndarray  # how many tokens the tokenizer does not know, `(N,)`
    truncated: np.ndarray  # whether the model did not read the text to its end, bool `(N,)`
    repeated: np.ndarray  # whether the text is equal to one before it, bool `(N,)`
    predictions: Predictions


def compare_texts(new: TextSample, reference: TextSample, seed: int) -> list[Comparison]:
    """Compare lengths, unknown tokens, truncation, repetition, confidence, and the shares of the predicted labels."""
    names = [*LENGTHS, UNKNOWN, *list_values(reference)]
    generator = np.random.default_rng(seed)
    found, drawn = [], []
    for sample in (reference, new):
        rows = len(sample.lengths)
        found.append(measure(sample, np.ones((1, rows)))[0])
        parts = draw_weights(rows, len(names), generator)
        drawn.append(np.concatenate([measure(sample, weights) for weights in parts]))
    return [
        compare(name, (found[0][i], found[1][i]), (drawn[0][:, i], drawn[1][:, i]), name not in LENGTHS)
        for i, name in enumerate(names)
    ]


def compare_metrics(new: LabelledPredictions, reference: LabelledPredictions, seed: int) -> list[Comparison]:
    """Compare the metrics that both samples have and that have an interval; the names are those of the reports."""
    generator = np.random.default_rng(seed)
    found = compute_metrics(reference), compute_metrics(new)
    drawn = draw_metrics(reference, generator).overall, draw_metrics(new, generator).overall
    shape = new.problem_type, new.logits.shape[1], new.is_ordinal
    return [
        compare(name, (found[0][key], found[1][key]), (drawn[0][key], drawn[1][key]), False)
        for key, name in list_metrics(*shape).items()
        if all(key in values for values in (*found, *drawn))
    ]


def compare(name: str, values: tuple[float, float], draws: tuple[np.ndarray, np.ndarray], is_share: bool) -> Comparison:
    """A comparison of reference and new, in this order; their resamples, `(R,)`, may differ in number."""
    count = min(map(len, draws))
    difference = add_interval(values[1] - values[0], draws[1][:count] - draws[0][:count])
    return Comparison(name, add_interval(values[0], draws[0]), add_interval(values[1], draws[1]), difference, is_share)


def add_interval(value: float, drawn: np.ndarray) -> tuple[float, ...]:
    """A value with the ends of its interval, from resamples `(R,)`."""
    return (float(value), *leave_out_biased(value, find_ends(drawn)))


def list_values(sample: TextSample) -> dict[str, np.ndarray]:
    """The shares of texts and the mean confidence: their values for each text, `(N,)`."""
    predictions = sample.predictions
    values = {
        "Truncated texts": sample.truncated,
        "Repeated texts": sample.repeated,
        "Confidence, mean": predictions.confidence,
    }
    return values | {f"Predicted: {name}": given for name, given in list_given(predictions)}


def list_given(predictions: Predictions) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each label and whether the texts get it, bool `(N,)`; then whether they get none, if that may be."""
    predicted = predictions.predicted
    if predicted.ndim == 1:
        predicted = (predicted[:, None] == np.arange(predictions.logits.shape[1])) & predictions.answered[:, None]
    yield from zip(predictions.names, predicted.T, strict=True)
    if predictions.predicted.ndim == 2 or predictions.thresholds is not None:
        yield NO_LABEL, np.logical_not(predicted.any(axis=1))


def measure(sample: TextSample, weights: np.ndarray) -> np.ndarray:
    """All measures of resamples, `(R, M)`, in their order; `weights`, `(R, N)`, say how often each text was drawn."""
    texts, tokens = weights.shape[1], weights @ sample.lengths
    order = np.argsort(sample.lengths, kind="stable")
    drawn = weights[:, order].cumsum(axis=1)
    quantiles = [sample.lengths[order][(drawn < share * texts).sum(axis=1)] for share in QUANTILES]
    values = np.stack(list(list_values(sample).values()), axis=1).astype(np.float64)
    return np.column_stack([tokens / texts, *quantiles, weights @ sample.unknown / tokens, weights @ values / texts])
