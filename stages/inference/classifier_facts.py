"""What is known of a classifier besides its weights: how it reads texts, and what its logits say.

An exported classifier has these facts in a file, so it needs neither torch nor transformers to know them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.core.errors import UserError
from stages.core.problem_type import MULTI_LABEL, ProblemType


@dataclass(frozen=True)
class ClassifierFacts:
    """The classifier's labels, in the order of its logits, and how a text becomes rows of tokens.

    `takes_pairs` says whether it classifies pairs of texts or single texts; None, for a folder that `train` did not
    make, allows both. `stride` is how many tokens two windows of a long text share; None: it is truncated.
    """

    labels: list[str]
    problem_type: ProblemType
    thresholds: list[float] | None  # one, or with several labels a text one for each; None for the usual answers
    max_length: int  # of a text, or of a window, in tokens
    stride: int | None
    truncation_side: str
    strip_html: bool
    takes_pairs: bool | None
    has_token_types: bool  # whether the model distinguishes the two texts of a pair by `token_type_ids`
    pad_token_id: int

    @property
    def has_windows(self) -> bool:
        return self.stride is not None

    def choose_thresholds(self, folder: Path, min_probability: float | None) -> np.ndarray | None:
        """Those of the classifier, or `min_probability` for all: `(1,)`, or with several labels a text `(C,)`.

        UserError, which names the folder, when their number does not fit the labels.
        """
        count = len(self.labels) if self.problem_type == MULTI_LABEL else 1
        if min_probability is not None:
            return np.full(count, min_probability)
        if self.thresholds is None:
            return None
        if len(self.thresholds) != count:
            found = len(self.thresholds)
            raise UserError(f"{folder}: config.json has {found} thresholds, and the model needs {count}.")
        return np.array(self.thresholds, dtype=np.float64)
