"""A model's predictions, and what metrics, tables, reports and the served model compute from them.

A text has one label of the C classes (single-label), or any number of C labels (multi-label). It needs nothing but
NumPy, because the served model loads it with few packages installed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np

from stages.core.problem_type import LABEL_SEPARATOR, MULTI_LABEL, NO_LABEL, SINGLE_LABEL, ProblemType


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of N texts: logits `(N, C)`, and the names of the C classes where they are asked for.

    Probabilities are the softmax of the logits, so log-probabilities will do as logits. Everything else is computed in
    double precision, when it is first read. `thresholds`, `(1,)`, has the lowest confidence that is an answer.
    """

    logits: np.ndarray
    names: Sequence[str] = field(default=(), kw_only=True)
    thresholds: np.ndarray | None = field(default=None, kw_only=True)
    is_ordinal: bool = field(default=False, kw_only=True)  # the classes have an order, lowest first

    @property
    def problem_type(self) -> ProblemType:
        """Transformers' name of it."""
        return SINGLE_LABEL

    @cached_property
    def predicted(self) -> np.ndarray:
        """Index of the class with the highest logit, `(N,)`; the first of equal ones."""
        return self.logits.argmax(-1)

    @cached_property
    def predicted_names(self) -> list[str]:
        """Name of the predicted class of each text."""
        return [self.names[index] for index in self.predicted]

    @cached_property
    def log_probabilities(self) -> np.ndarray:
        """Natural log of the class probabilities, `(N, C)`."""
        # Without the row's maximum, so that exp cannot overflow.
        shifted = self.logits.astype(np.float64) - self.logits.max(-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Probability of each class, `(N, C)`."""
        return np.exp(self.log_probabilities)

    @cached_property
    def confidence(self) -> np.ndarray:
        """Probability of the predicted class, `(N,)`."""
        return np.exp(self.log_probabilities.max(-1))

    @cached_property
    def answered(self) -> np.ndarray:
        """Whether each prediction is sure enough to be an answer, bool `(N,)`; all are without a threshold."""
        if self.thresholds is None:
            return np.ones(len(self.logits), dtype=bool)
        return self.confidence >= self.thresholds[0]


@dataclass(frozen=True, eq=False)
class LabelledPredictions(Predictions):
    """Predictions for texts whose classes are known: `labels` are their indices, `(N,)`."""

    labels: np.ndarray

    @cached_property
    def label_names(self) -> list[str]:
        """Name of the actual class of each text."""
        return [self.names[index] for index in self.labels]

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether each text's predicted class is its actual one, bool `(N,)`."""
        return self.predicted == self.labels

    @cached_property
    def losses(self) -> np.ndarray:
        """Cross-entropy of each text in nats, `(N,)`."""
        return -self.log_probabilities[np.arange(len(self.labels)), self.labels]

    @cached_property
    def confusion(self) -> np.ndarray:
        """How many texts of each actual class were predicted as each class, int `(C, C)`: actual, predicted."""
        classes = self.logits.shape[1]
        return np.bincount(self.labels * classes + self.predicted, minlength=classes**2).reshape(classes, classes)

    @property
    def confusion_names(self) -> list[str]:
        """Names of the rows and columns of `confusion`."""
        return list(self.names)

    def find_most_confident_mistakes(self, count: int) -> np.ndarray:
        """Rows of at most `count` wrong predictions, `(M,)`, the most confident first, equal ones in row order."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:count]


@dataclass(frozen=True, eq=False)
class MultiLabelPredictions(Predictions):
    """What a model says of N texts that may have several of the C labels, or none.

    The probability of each label is the sigmoid of its logit. A label is predicted from its threshold on; `thresholds`
    is `(C,)`, by default 0.5 for all.
    """

    @property
    def problem_type(self) -> ProblemType:
        """Transformers' name of it."""
        return MULTI_LABEL

    @cached_property
    def predicted(self) -> np.ndarray:
        """Whether each text gets each label, bool `(N, C)`."""
        return self.probabilities >= (0.5 if self.thresholds is None else self.thresholds)

    @cached_property
    def predicted_names(self) -> list[str]:
        """Names of the predicted labels of each text, joined; empty where there are none."""
        return join_names(self.predicted, self.names)

    @cached_property
    def log_probabilities(self) -> np.ndarray:
        """Natural log of the probability of each label, `(N, C)`."""
        return -np.logaddexp(0, -self.logits.astype(np.float64))

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Probability of each label, `(N, C)`; exactly 0.5 for a logit of 0."""
        small = np.exp(-np.abs(self.logits.astype(np.float64)))  # of the negative side, so that exp cannot overflow
        return np.where(self.logits >= 0, 1, small) / (1 + small)

    @cached_property
    def confidence(self) -> np.ndarray:
        """Probability of the least certain of a text's C decisions, `(N,)`."""
        return np.where(self.predicted, self.probabilities, 1 - self.probabilities).min(-1)

    @cached_property
    def answered(self) -> np.ndarray:
        """True for all texts, bool `(N,)`: the thresholds decide which labels a text gets, and none is an answer."""
        return np.ones(len(self.logits), dtype=bool)


@dataclass(frozen=True, eq=False)
class LabelledMultiLabelPredictions(MultiLabelPredictions, LabelledPredictions):
    """Predictions for texts whose labels are known: `labels` is bool `(N, C)`."""

    @cached_property
    def label_names(self) -> list[str]:
        """Names of the actual labels of each text, joined; empty where there are none."""
        return join_names(self.labels, self.names)

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether all C decisions about a text are right, bool `(N,)`."""
        return (self.predicted == self.labels).all(-1)

    @cached_property
    def losses(self) -> np.ndarray:
        """Binary cross-entropy of each text in nats, the mean over the labels, `(N,)`."""
        logits = self.logits.astype(np.float64)
        return np.logaddexp(0, np.where(self.labels, -logits, logits)).mean(-1)

    @cached_property
    def confusion(self) -> np.ndarray:
        """Decisions in which a label is actual or predicted, int `(C + 1, C + 1)`: actual, predicted.

        Labels that were found are on the diagonal, those that were missed in the last column, and those that were
        given wrongly in the last row.
        """
        classes = self.logits.shape[1]
        table = np.zeros((classes + 1, classes + 1), dtype=np.int64)
        table[range(classes), range(classes)] = (self.labels & self.predicted).sum(0)
        table[:-1, -1] = (self.labels & ~self.predicted).sum(0)
        table[-1, :-1] = (~self.labels & self.predicted).sum(0)
        return table

    @property
    def confusion_names(self) -> list[str]:
        """Names of the rows and columns of `confusion`."""
        return [*self.names, NO_LABEL]


def join_names(chosen: np.ndarray, names: Sequence[str]) -> list[str]:
    """The names of the labels that are chosen for each text, joined; `chosen` is bool `(N, C)`."""
    return [LABEL_SEPARATOR.join(names[index] for index in np.flatnonzero(row).tolist()) for row in chosen]


@overload
def make_predictions(
    problem_type: ProblemType,
    logits: np.ndarray,
    labels: None = None,
    names: Sequence[str] = (),
    thresholds: np.ndarray | Sequence[float] | None = None,
    is_ordinal: bool = False,
) -> Predictions: ...


@overload
def make_predictions(
    problem_type: ProblemType,
    logits: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str] = (),
    thresholds: np.ndarray | Sequence[float] | None = None,
    is_ordinal: bool = False,
) -> LabelledPredictions: ...


def make_predictions(
    problem_type: ProblemType,
    logits: np.ndarray,
    labels: np.ndarray | None = None,
    names: Sequence[str] = (),
    thresholds: np.ndarray | Sequence[float] | None = None,
    is_ordinal: bool = False,
) -> Predictions:
    """The predictions of a model of this problem type, labelled where `labels` are given."""
    options: dict[str, Any] = {
        "names": names,
        "thresholds": None if thresholds is None else np.asarray(thresholds, dtype=np.float64),
        "is_ordinal": is_ordinal,
    }
    if problem_type == MULTI_LABEL:
        if labels is None:
            return MultiLabelPredictions(logits, **options)
        return LabelledMultiLabelPredictions(logits, labels.astype(bool), **options)
    return Predictions(logits, **options) if labels is None else LabelledPredictions(logits, labels, **options)
