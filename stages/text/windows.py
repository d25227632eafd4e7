"""Long texts, read in overlapping windows: their tokens, and what a model says of them as a whole.

Each window is a row with its document's label. What is measured, or answered, is a document.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase


def flatten_windows(encodings: Sequence["Encoding"]) -> tuple[list["Encoding"], list[int]]:
    """All windows of texts that were encoded with `enable_truncation`, and which text each of them is of."""
    windows = [[encoding, *encoding.overflowing] for encoding in encodings]
    return [part for parts in windows for part in parts], [i for i, parts in enumerate(windows) for _ in parts]


def get_documents(split: "Dataset") -> np.ndarray:
    """Which document each row of a split of `data/tokenized` is a window of, `(N,)`, in ascending order."""
    return split.data.column("document").to_numpy() if "document" in split.column_names else np.arange(len(split))


def find_first_windows(documents: np.ndarray) -> np.ndarray:
    """The row that each document begins at, `(D,)`, of `documents` `(N,)` in ascending order."""
    return np.flatnonzero(np.diff(documents, prepend=-1))


def get_document_labels(split: "Dataset") -> np.ndarray:
    """The label of each document, `(D,)`."""
    return split.data.column("labels").to_numpy()[find_first_windows(get_documents(split))]


def pool_windows(logits: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """The scores of documents, `(D, C)`, from the logits of their windows, `(N, C)`.

    They are logarithms of probabilities: the mean over the document's windows. Documents of one window each keep their
    logits as they are.
    """
    first = find_first_windows(documents)
    if len(first) == len(documents):
        return logits
    counts = np.diff(first, append=len(documents))[:, None]
    double = logits.astype(np.float64)
    logarithms = double - np.logaddexp.reduce(double, axis=-1, keepdims=True)
    return (np.logaddexp.reduceat(logarithms, first) - np.log(counts)).astype(logits.dtype)


def count_document_tokens(
    lengths: np.ndarray, documents: np.ndarray, tokenizer: "PreTrainedTokenizerBase"
) -> np.ndarray:
    """Tokens of each document, `(D,)`, from those of its windows, `(N,)`: what windows repeat is counted once."""
    first = find_first_windows(documents)
    repeated = (tokenizer.init_kwargs.get("window_stride") or 0) + tokenizer.num_special_tokens_to_add()
    return np.add.reduceat(lengths, first) - (np.diff(first, append=len(documents)) - 1) * repeated
