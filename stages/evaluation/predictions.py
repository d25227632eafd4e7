"""A model's predictions, and what metrics, tables, reports and the served model compute from them.

It needs nothing but NumPy, because the served model loads it with few packages installed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says of N texts: logits `(N, C)`, and the names of the C classes where they are asked for.

    Log-probabilities will do as logits. Everything else is computed in double precision, when it is first read.
    """

    logits: np.ndarray
    names: Sequence[str] = field(default=(), kw_only=True)

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
    def confidence(self) -> np.ndarray:
        """Probability of the predicted class, `(N,)`."""
        return np.exp(self.log_probabilities.max(-1))


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

    def find_most_confident_mistakes(self, count: int) -> np.ndarray:
        """Rows of at most `count` wrong predictions, `(M,)`, the most confident first, equal ones in row order."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:count]
