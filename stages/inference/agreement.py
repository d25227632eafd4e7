"""How far the answers of an exported classifier are from those of the model that it was made of."""

from dataclasses import dataclass

import numpy as np

from stages.evaluation.gate_rules import RESAMPLES, bootstrap_difference
from stages.evaluation.predictions import LabelledPredictions, MultiLabelPredictions

MOST_DIFFERENT_LOGIT = 1e-4  # between fp32 in torch and in ONNX Runtime
LEAST_EQUAL_LABELS = 0.99  # of int8


@dataclass(frozen=True)
class Agreement:
    """Two models on the same N texts: the reference, and the one that is to take its place."""

    rows: int
    largest_difference: float  # of a logit, or of the score of a text in windows
    equal_labels: float  # share of the texts, or with several labels a text of all decisions, that are the same
    metric: str  # accuracy, or f1_micro with several labels a text
    reference: float
    found: float
    low: float  # ends of the confidence interval of `found - reference`
    high: float

    @property
    def is_accepted(self) -> bool:
        """Whether the labels are the same but for 1 %, and no worse than by chance, as the gate judges champions."""
        return self.equal_labels >= LEAST_EQUAL_LABELS and self.high >= 0

    def describe(self) -> str:
        """In one line for people."""
        return (
            f"{self.equal_labels:.2%} of the labels of {self.rows:,} validation texts are those of torch in fp32 (at "
            f"least {LEAST_EQUAL_LABELS:.0%} must be), logits differ by {self.largest_difference:.1e} at most; "
            f"{self.metric} {self.found:.4f} after {self.reference:.4f}, a difference of {self.low:+.4f} to "
            f"{self.high:+.4f}"
        )


def compare(reference: LabelledPredictions, found: LabelledPredictions, confidence: float, seed: int) -> Agreement:
    """Compare two models by a paired bootstrap over the texts."""
    bootstrap = bootstrap_difference
    scores = [float(one.correct.mean()) for one in (reference, found)]
    sides = (found.correct, reference.correct)
    if isinstance(reference, MultiLabelPredictions):
        bootstrap = bootstrap_f1_difference
        sides = (count_decisions(found), count_decisions(reference))
        scores = [float(compute_f1(count_decisions(one).sum(0))) for one in (reference, found)]
    low, high = bootstrap(*sides, confidence, seed)
    return Agreement(
        rows=len(reference.labels),
        largest_difference=float(np.abs(reference.logits - found.logits).max()),
        equal_labels=float((reference.predicted == found.predicted).mean()),
        metric="f1_micro" if isinstance(reference, MultiLabelPredictions) else "accuracy",
        reference=scores[0],
        found=scores[1],
        low=low,
        high=high,
    )


def count_decisions(predictions: LabelledPredictions) -> np.ndarray:
    """Of each text: labels that were found, labels that were given, labels that it has; int `(N, 3)`."""
    given, actual = predictions.predicted, predictions.labels
    return np.stack([(given & actual).sum(-1), given.sum(-1), actual.sum(-1)], axis=-1)


def compute_f1(counts: np.ndarray) -> np.ndarray:
    """F1 over all decisions, from sums of `count_decisions`, `(..., 3)`; 1 where there are no labels at all."""
    return np.where(counts[..., 1:].sum(-1) == 0, 1, 2 * counts[..., 0] / np.maximum(counts[..., 1:].sum(-1), 1))


def bootstrap_f1_difference(new: np.ndarray, old: np.ndarray, confidence: float, seed: int) -> tuple[float, float]:
    """As `bootstrap_difference`, of the micro-averaged F1, from the decisions of two models, int `(N, 3)` each.

    Texts with equal numbers are drawn together, so that memory does not grow with the texts.
    """
    kinds, counts = np.unique(np.concatenate([new, old], axis=1), axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(new), counts / len(new), size=RESAMPLES) @ kinds
    differences = compute_f1(drawn[:, :3]) - compute_f1(drawn[:, 3:])
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
