"""Thresholds: from which probability on a prediction is an answer, so that the answers reach a goal on validation.

A model of one label a text then answers or abstains (Chow, On Optimum Recognition Error and Reject Tradeoff, IEEE
Transactions on Information Theory, 1970). A model of several labels gives a label from its own threshold on.
"""

import re
from typing import NamedTuple

import numpy as np
from sklearn.metrics import precision_recall_curve

from stages.core.errors import MOST_NAMES, UserError, to_one_line
from stages.core.param_types import GOAL_PATTERN
from stages.evaluation.predictions import LabelledMultiLabelPredictions, LabelledPredictions

KEY = "train.threshold"
DEFAULT = 0.5  # of a label that no row of validation has
MOST_POINTS = 100  # of a curve that is drawn


class Goal(NamedTuple):
    """What thresholds have to reach: the highest `f1`, or at least `least` of `precision` or `recall`."""

    measure: str
    least: float = 0.0


class Choice(NamedTuple):
    """A threshold with what it reaches on validation; no threshold when the goal cannot be reached, but `best` can."""

    threshold: float | None
    best: float


class Curve(NamedTuple):
    """What thresholds reach on validation, all `(K,)`, lowest threshold first; thresholds are distinct probabilities.

    Without any true decision there is no curve: K is 0.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        return 2 * self.precision * self.recall / np.maximum(self.precision + self.recall, np.finfo(float).tiny)


def parse_goal(text: str) -> Goal:
    """The goal that `train.threshold` names: `max f1`, `precision >= 0.95` or `recall >= 0.9`; UserError for others."""
    match = re.fullmatch(GOAL_PATTERN, text)
    if match is None:
        raise UserError(f"{KEY}: found {text!r}; allowed: max f1, precision >= P or recall >= P, with P up to 1.")
    return Goal("f1") if match[1] == "max f1" else Goal(match[2], float(match[4]))


def fit_thresholds(goal: Goal, predictions: LabelledPredictions) -> np.ndarray:
    """The thresholds that reach the goal on validation: `(C,)` with several labels a text, else `(1,)`.

    - `f1`: the highest F1, and of equal ones the lowest threshold.
    - `precision`: the lowest threshold with it, which has the highest recall.
    - `recall`: the highest threshold with it.

    With several labels these are the measures of each label's decisions; a label that no row has gets 0.5 for `f1`.
    With one label, precision is the share of correct answers among all answers, and recall the share of all rows that
    are answered correctly. UserError, which names the labels and the best that can be reached, when a goal cannot be.
    """
    if isinstance(predictions, LabelledMultiLabelPredictions):
        columns = zip(predictions.labels.T, predictions.probabilities.T, strict=True)
        curves = [make_curve(labels, probabilities) for labels, probabilities in columns]
    else:
        curve = make_curve(predictions.correct, predictions.confidence)
        # Scikit-learn's recall is a share of the rows that are correct without a threshold; this one is of all rows.
        hits = np.rint(curve.recall * predictions.correct.sum())
        curves = [curve._replace(recall=hits / len(predictions.correct))]
    choices = [choose_threshold(goal, curve) for curve in curves]
    missed = [number for number, choice in enumerate(choices) if choice.threshold is None]
    if missed:
        raise UserError(describe_missed(goal, predictions, choices, missed))
    return np.array([choice.threshold for choice in choices])


def make_curve(labels: np.ndarray, probabilities: np.ndarray) -> Curve:
    """Precision and recall by threshold of N decisions: whether each is true, and its probability, both `(N,)`."""
    if not labels.any():
        return Curve(*np.empty((3, 0)))
    precision, recall, thresholds = precision_recall_curve(labels, probabilities)
    return Curve(thresholds, precision[:-1], recall[:-1])  # the last point is that of no threshold


def choose_threshold(goal: Goal, curve: Curve) -> Choice:
    """The threshold that reaches the goal, or only the best that can be reached."""
    values = getattr(curve, goal.measure)
    if not len(values):
        return Choice(DEFAULT if goal.measure == "f1" else None, 0.0)
    best = float(values.max())
    if goal.measure == "f1":
        index = int(values.argmax())
    else:
        reached = np.flatnonzero(values >= goal.least)
        if not len(reached):
            return Choice(None, best)
        index = int(reached[0] if goal.measure == "precision" else reached[-1])
    below = float(curve.thresholds[index - 1]) if index else 0.0
    return Choice(find_between(below, float(curve.thresholds[index])), best)


def find_between(low: float, high: float) -> float:
    """A short number above `low` and up to `high`, near the middle.

    So small differences, as those between bf16 and fp32, turn few decisions, and none is turned by writing the number
    to a file and reading it again.
    """
    middle = (low + high) / 2
    shorter = (float(f"{middle:.{digits}g}") for digits in range(3, 17))
    return next((number for number in shorter if low < number <= high), high)


def describe_missed(goal: Goal, predictions: LabelledPredictions, choices: list[Choice], missed: list[int]) -> str:
    """The message about a goal that cannot be reached, with the best that can be."""
    found = f"{KEY}: found '{goal.measure} >= {goal.least:g}'"
    advice = "Use a lower number, max f1 or null; the training is kept, so that running the stage again is quick."
    if not isinstance(predictions, LabelledMultiLabelPredictions):
        best = f"no threshold reaches it on validation, where the best {goal.measure} is {choices[0].best:.4f}"
        return f"{found}; {best}. {advice}"
    rows = predictions.labels.sum(0)
    names = [
        f"{to_one_line(predictions.names[number])} ({f'{choices[number].best:.4f}' if rows[number] else 'no rows'})"
        for number in missed[:MOST_NAMES]
    ]
    more = f" and {len(missed) - len(names)} more" if len(missed) > len(names) else ""
    labels = f"{len(missed)} of {len(choices)} labels, whose best {goal.measure} is in brackets"
    return f"{found}; no threshold reaches it on validation for {labels}: {', '.join(names)}{more}. {advice}"


def coverage_curve(predictions: LabelledPredictions) -> list[dict[str, float]]:
    """What a threshold would do: `coverage`, `accuracy` and `threshold` of at most 100 points, highest threshold first.

    Coverage is the share of rows that are answered, accuracy the share of correct ones among these. With one label a
    text only (El-Yaniv and Wiener, On the Foundations of Noise-free Selective Classification, JMLR 2010).
    """
    order = np.argsort(-predictions.confidence, kind="stable")
    confidence, answered = predictions.confidence[order], np.arange(1, len(order) + 1)
    accuracy = predictions.correct[order].cumsum() / answered
    last = np.flatnonzero(np.diff(confidence, append=-1))  # the last row of those with equal confidence
    shown = last[np.unique(np.linspace(0, len(last) - 1, min(MOST_POINTS, len(last))).round().astype(int))]
    return [
        {
            "coverage": float(answered[row] / len(order)),
            "accuracy": float(accuracy[row]),
            "threshold": float(confidence[row]),
        }
        for row in shown
    ]
