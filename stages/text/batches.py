"""Rows of tokens, and the batches made of them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from stages.text.windows import get_documents

if TYPE_CHECKING:
    import datasets

BATCHES_A_GROUP = 50
# Widths of batches are multiples of this: on a CPU, oneDNN makes and keeps kernels for each width that it meets (200
# MiB for those of IMDB up to 128 tokens), and tensor cores of a GPU like multiples of eight.
MULTIPLE = 8
TOKENS = ("input_ids", "token_type_ids")


class TokenRows(Dataset):
    """A split of `data/tokenized` as flat arrays, which gives whole batches, padded on the right.

    `documents` `(N,)` says which document each row is a window of, or is.
    A batch has `input_ids`, for pairs `token_type_ids`, and `attention_mask`, `(B, T)`, and `labels`, `(B,)`, all
    int64; the mask is left out where nothing is padded, so that attention need not look.
    """

    def __init__(self, split: "datasets.Dataset", pad_token_id: int):
        columns = {name: split.data.column(name).combine_chunks() for name in TOKENS if name in split.column_names}
        self.tokens = {name: column.flatten().to_numpy() for name, column in columns.items()}
        self.starts = np.concatenate([[0], np.cumsum(columns["input_ids"].value_lengths().to_numpy())])
        self.lengths = np.diff(self.starts)
        self.widths = round_up_widths(self.lengths)
        self.labels = split.data.column("labels").to_numpy().astype(np.int64, copy=False)
        self.documents = get_documents(split)
        self.pad_token_id = pad_token_id

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """All rows of a batch at once: the method that a DataLoader prefers to one call a row."""
        rows = np.asarray(indices)
        columns = {
            name: [values[self.starts[row] : self.starts[row + 1]] for row in rows]
            for name, values in self.tokens.items()
        }
        batch = pad_batch(columns, self.pad_token_id, self.widths[rows].max())
        return batch | {"labels": torch.from_numpy(self.labels[rows])}


def round_up_widths(lengths: np.ndarray) -> np.ndarray:
    """The width of a batch whose longest row has that length: the next multiple of eight, at most the longest row."""
    return np.minimum(-(-lengths // MULTIPLE) * MULTIPLE, lengths.max())


def pad_batch(columns: Mapping[str, Sequence], pad_token_id: int, width: int) -> dict[str, torch.Tensor]:
    """Pad rows of tokens on the right to one int64 tensor `(B, width)` for each column, and add `attention_mask`.

    `columns` maps `input_ids` and, for pairs, `token_type_ids` to the lists or arrays of B rows.
    """
    mask = make_mask(np.array([len(row) for row in columns["input_ids"]]), width)
    batch = {}
    for name, rows in columns.items():
        padded = np.full(mask.shape, pad_token_id if name == "input_ids" else 0, dtype=np.int64)
        padded[mask] = np.concatenate(rows)
        batch[name] = torch.from_numpy(padded)
    return add_attention_mask(batch, mask)


def make_mask(lengths: np.ndarray, width: int) -> np.ndarray:
    """Where a batch with rows of these lengths, `(B,)`, holds tokens and not padding: bool, `(B, width)`."""
    return np.arange(width) < lengths[:, None]


def add_attention_mask(batch: dict[str, torch.Tensor], mask: np.ndarray) -> dict[str, torch.Tensor]:
    """The batch with `attention_mask`, int64 `(B, T)`.

    It is left out when nothing is padded: without a mask attention skips a step, with the same result.
    """
    return batch if mask.all() else batch | {"attention_mask": torch.from_numpy(mask.astype(np.int64))}


def pass_batch_through(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The `collate_fn` of data sets that return complete batches."""
    return batch


class LengthGroupedSampler(Sampler[int]):
    """Row numbers in an order whose batches hold rows of like length, while the batches themselves come shuffled.

    Rows are drawn at random into groups of 50 batches (fewer in small data) and sorted by length within them.
    transformers' sampler of this kind leaves the batches sorted too, so that training goes from long texts to short
    ones over and over: a model from scratch on IMDB had 0.835 on validation after an epoch of those.
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
        group = min(BATCHES_A_GROUP, max(len(order) // (4 * self.batch_size), 1)) * self.batch_size
        groups = [order[start : start + group] for start in range(0, len(order), group)]
        order = np.concatenate([rows[np.argsort(-self.lengths[rows], kind="stable")] for rows in groups])
        whole = len(order) // self.batch_size
        shuffled = random.permutation(whole)
        batches = order[: whole * self.batch_size].reshape(whole, self.batch_size)[shuffled]
        yield from np.concatenate([batches.ravel(), order[whole * self.batch_size :]]).tolist()


class TokenBudgetBatches(Sampler[list[int]]):
    """Row numbers in batches of at most `budget` tokens, padding included, and at least one row, longest rows first.

    So batches hold little padding, short rows come in large batches, and what runs out of memory does so at once.
    """

    def __init__(self, lengths: np.ndarray, budget: int):
        self.order, self.ends, start = sort_by_length(lengths), [], 0
        widths = round_up_widths(lengths)
        while start < len(self.order):
            start += max(budget // int(widths[self.order[start]]), 1)
            self.ends.append(min(start, len(self.order)))

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[list[int]]:
        for start, end in pairwise([0, *self.ends]):
            yield self.order[start:end].tolist()


def sort_by_length(lengths: np.ndarray) -> np.ndarray:
    """Row numbers, longest first."""
    return np.argsort(-lengths, kind="stable")
