"""Windows of long texts: their tokens, and the scores of a document from those of its windows.

Each window is a row with its document's label. Metrics and predictions are about documents. N is the number of windows,
D of documents, C of classes; a text that the model reads completely is a document of one window.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stages.core.problem_type import MULTI_LABEL, ProblemType

if TYPE_CHECKING:
    from datasets import Dataset
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase


def flatten_windows(encodings: Sequence["Encoding"]) -> tuple[list["Encoding"], list[int]]:
    """All windows of texts that were encoded after `enable_truncation`, and the position of the text of each."""
    windows = [[encoding, *encoding.overflowing] for encoding in encodings]
    return [part for parts in windows for part in parts], [i for i, parts in enumerate(windows) for _ in parts]


def get_documents(split: "Dataset") -> np.ndarray:
    """The number of the document of each row of a split of `data/tokenized`, `(N,)`, ascending."""
    return split.data.column("document").to_numpy() if "document" in split.column_names else np.arange(len(split))


def find_first_windows(documents: np.ndarray) -> np.ndarray:
    """The row of each document's first window, `(D,)`; `documents`, `(N,)`, are those of `get_documents`."""
    return np.flatnonzero(np.diff(documents, prepend=-1))


def pool_windows(logits: np.ndarray, documents: np.ndarray, problem_type: ProblemType) -> np.ndarray:
    """Scores of documents, `(D, C)`, from the logits of their windows, `(N, C)`, in the same type.

    The probability of a document is the mean over its windows. A score is its logarithm or, where a document may have
    several labels, its log odds. The scores of a document with one window are its logits as they are, whatever other
    documents have.
    """
    first = find_first_windows(documents)
    if len(first) == len(documents):
        return logits
    counts = np.diff(first, append=len(documents))[:, None]
    double = logits.astype(np.float64)
    if problem_type == MULTI_LABEL:
        present, absent = -np.logaddexp(0, -double), -np.logaddexp(0, double)
        means = np.logaddexp.reduceat(present, first) - np.logaddexp.reduceat(absent, first)
    else:
        logarithms = double - np.logaddexp.reduce(double, axis=-1, keepdims=True)
        means = np.logaddexp.reduceat(logarithms, first) - np.log(counts)
    return np.where(counts == 1, logits[first], means.astype(logits.dtype))


def count_document_tokens(
    lengths: np.ndarray, documents: np.ndarray, tokenizer: "PreTrainedTokenizerBase"
) -> np.ndarray:
    """Tokens of each document, `(D,)`, from those of its windows, `(N,)`; what windows repeat is counted once."""
    first = find_first_windows(documents)
    repeated = (tokenizer.init_kwargs.get("window_stride") or 0) + tokenizer.num_special_tokens_to_add()
    return np.add.reduceat(lengths, first) - (np.diff(first, append=len(documents)) - 1) * repeated
