"""Batches of token rows: which rows are in a batch together, and how they are padded."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL, ProblemType
from stages.text.labels import flatten_lists, make_label_tensor, read_labels
from stages.text.padding import pad_rows, round_up_widths
from stages.text.windows import get_documents

if TYPE_CHECKING:
    import datasets

BATCHES_PER_GROUP = 50  # as in transformers' sampler of this kind
MIN_GROUPS = 4  # of small data, where a group has fewer batches; also as in transformers
Batch = TypeVar("Batch")
TOKEN_COLUMNS = ("input_ids", "token_type_ids")
IGNORED = -100  # the label of a row that does not count, as torch's cross-entropy and Trainer know it


class RowDataset(Dataset):
    """N rows that come as complete batches, and what samplers and Trainer need to know of them."""

    lengths: np.ndarray  # tokens of each row, `(N,)`
    labels: np.ndarray  # as `read_labels` gives them: int64 `(N,)`, or bool `(N, C)` where a row may have several
    max_length: int  # the longest row that there may be, in tokens
    documents: np.ndarray  # number of the document that each row is, or is a window of, `(N,)`, ascending

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def problem_type(self) -> ProblemType:
        """Whether a row has one label or several."""
        return SINGLE_LABEL if self.labels.ndim == 1 else MULTI_LABEL

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """All rows of a batch at once: a DataLoader prefers this method to one call a row."""
        raise NotImplementedError


class TokenRows(RowDataset):
    """A split of `data/tokenized` as flat arrays.

    A batch has `input_ids`, for pairs `token_type_ids`, and `attention_mask`, `(B, T)`, and `labels`, `(B,)`, all int64
    (float32 `(B, C)` where a row may have several labels). It is padded on the right to the width of its longest row,
    as `round_up_widths` says; the mask is left out when nothing is padded. `max_length` is the longest row that there
    may be, in tokens.
    """

    def __init__(self, split: "datasets.Dataset", pad_token_id: int, max_length: int):
        names = [name for name in TOKEN_COLUMNS if name in split.column_names]
        columns = {name: flatten_lists(split.data.column(name)) for name in names}
        self.tokens = {name: values for name, (values, _) in columns.items()}
        self.starts = np.concatenate([[0], np.cumsum(columns["input_ids"][1], dtype=np.int64)])
        self.lengths = np.diff(self.starts)
        self.max_length = max_length
        self.widths = round_up_widths(self.lengths, max_length)
        self.labels = read_labels(split)
        self.documents = get_documents(split)
        self.pad_token_id = pad_token_id

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        rows = np.asarray(indices)
        columns = {
            name: [values[self.starts[row] : self.starts[row + 1]] for row in rows]
            for name, values in self.tokens.items()
        }
        batch = pad_batch(columns, self.pad_token_id, int(self.widths[rows].max()))
        return batch | {"labels": make_label_tensor(self.labels[rows])}


class RowSubset(RowDataset):
    """Some rows of another data set: their numbers, `(N,)`, are ascending."""

    def __init__(self, rows: RowDataset, numbers: np.ndarray):
        self.rows, self.numbers = rows, numbers
        self.lengths, self.labels = rows.lengths[numbers], rows.labels[numbers]
        self.max_length, self.documents = rows.max_length, rows.documents[numbers]

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        return self.rows.__getitems__(self.numbers[np.asarray(indices)])


def pad_batch(columns: Mapping[str, Sequence], pad_token_id: int, width: int) -> dict[str, torch.Tensor]:
    """The batch of `pad_rows` as tensors, int64 `(B, width)` each, with `attention_mask`."""
    batch, mask = pad_rows(columns, pad_token_id, width)
    return add_attention_mask({name: torch.from_numpy(values) for name, values in batch.items()}, mask)


def add_attention_mask(batch: dict[str, torch.Tensor], mask: np.ndarray) -> dict[str, torch.Tensor]:
    """The batch with `mask` as `attention_mask`, int64 `(B, T)`; unchanged when nothing is padded.

    Attention without a mask is faster, and its result is the same.
    """
    return batch if mask.all() else batch | {"attention_mask": torch.from_numpy(mask.astype(np.int64))}


def pass_batch_through(batch: Batch) -> Batch:
    """The `collate_fn` for a `RowDataset`, whose batches are complete."""
    return batch


class LengthGroupedSampler(Sampler[int]):
    """Row numbers in an order whose batches hold rows of similar length, while the batches themselves are shuffled.

    Rows are drawn at random into groups of 50 batches (fewer in small data) and sorted by length within a group.
    transformers' sampler of this kind leaves the batches sorted too, so that training goes from long to short texts
    again and again: a model from scratch on IMDB had 0.835 on validation after an epoch with it.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int):
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Called by Accelerate: seed and epoch alone decide the order, so that a resumed epoch has the same one."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(len(self.lengths))
        batches_per_group = min(BATCHES_PER_GROUP, max(len(order) // (MIN_GROUPS * self.batch_size), 1))
        group_size = batches_per_group * self.batch_size
        groups = [order[start : start + group_size] for start in range(0, len(order), group_size)]
        order = np.concatenate([rows[np.argsort(-self.lengths[rows], kind="stable")] for rows in groups])
        full_batches = len(order) // self.batch_size
        shuffled = random.permutation(full_batches)
        batches = order[: full_batches * self.batch_size].reshape(full_batches, self.batch_size)[shuffled]
        yield from np.concatenate([batches.ravel(), order[full_batches * self.batch_size :]]).tolist()


class SharedBatches(Sampler[list[int]]):
    """Of each batch of rows the share of one rank: every N-th row, so that all ranks get rows of like length.

    Where a batch has fewer rows than there are ranks, the ranks without one get its first row, marked as not to be
    learnt from (`MarkedRows`).
    """

    def __init__(self, rows: LengthGroupedSampler, rank: int, count: int):
        # Accelerate reads these when it resumes in the middle of an epoch.
        self.sampler, self.batch_size, self.drop_last = rows, rows.batch_size, False
        self.rank, self.count = rank, count

    def set_epoch(self, epoch: int) -> None:
        """As in `LengthGroupedSampler`."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.sampler)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            yield batch[self.rank :: self.count] or [-1 - batch[0]]


class MarkedRows(RowDataset):
    """Another data set, in whose batches negative row numbers are rows that do not count: -1 is row 0.

    Their labels are `IGNORED`.
    """

    def __init__(self, rows: RowDataset):
        self.rows = rows
        self.lengths, self.labels = rows.lengths, rows.labels
        self.max_length, self.documents = rows.max_length, rows.documents

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        numbers = np.asarray(indices)
        is_ignored = numbers < 0
        batch = self.rows.__getitems__(np.where(is_ignored, -1 - numbers, numbers).tolist())
        if is_ignored.any():
            batch["labels"][torch.from_numpy(is_ignored)] = IGNORED
        return batch
