"""The labels of a tokenized split: one of each row, or several.

N is the number of rows, C that of labels. One label is its index, int64 `(N,)`; several are a matrix, bool `(N, C)`,
which says of each label whether the row has it.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL, ProblemType, Task

if TYPE_CHECKING:  # a served model reads no data set, and need not have the library
    from datasets import Dataset
    from pyarrow import ChunkedArray


def get_problem_type(split: "Dataset") -> ProblemType:
    """Whether rows have one label, a `ClassLabel`, or a list of them."""
    return MULTI_LABEL if hasattr(split.features["labels"], "feature") else SINGLE_LABEL


def get_label_names(split: "Dataset") -> list[str]:
    """The names of the labels, in the order of their indices."""
    feature = split.features["labels"]
    return getattr(feature, "feature", feature).names


def make_task(split: "Dataset", is_ordinal: bool) -> Task:
    """What a classifier of these rows has to answer; `data/statistics.json` has whether the labels have an order."""
    return Task(get_label_names(split), get_problem_type(split), is_ordinal)


def read_labels(split: "Dataset") -> np.ndarray:
    """The labels of all rows: int64 `(N,)` or bool `(N, C)`."""
    column = split.data.column("labels")
    if get_problem_type(split) == SINGLE_LABEL:
        return column.to_numpy().astype(np.int64, copy=False)
    values, lengths = flatten_lists(column)
    labels = np.zeros((len(split), len(get_label_names(split))), dtype=bool)
    labels[np.repeat(np.arange(len(split)), lengths), values] = True
    return labels


def flatten_lists(column: "ChunkedArray") -> tuple[np.ndarray, np.ndarray]:
    """The values of a column of N lists, one list after another, and the length of each list, int32 `(N,)`.

    Arrow can join the chunks only up to 2^31 values, which its int32 offsets count.
    """
    values = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return values, np.concatenate([chunk.value_lengths().to_numpy() for chunk in column.chunks])


def make_label_tensor(labels: np.ndarray) -> torch.Tensor:
    """Labels of B rows as the loss takes them: int64 `(B,)`, or float32 `(B, C)` of 0 and 1."""
    tensor = torch.from_numpy(labels)
    return tensor.float() if tensor.dtype == torch.bool else tensor
