"""Rows of tokens, and the batches made of them."""

from dataclasses import dataclass

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset


class TokenRows(Dataset):
    """A split of `data/tokenized` as flat arrays: a row is a slice, which costs a microsecond and copies nothing.

    Items are `{"input_ids": (T,) int32, "labels": int}`. `order` selects and arranges rows.
    """

    def __init__(self, split: datasets.Dataset, order: np.ndarray | None = None):
        column = split.data.column("input_ids").combine_chunks()
        self.ids = column.flatten().to_numpy()
        self.starts = np.concatenate([[0], np.cumsum(column.value_lengths().to_numpy())])
        self.labels = split.data.column("labels").to_numpy()
        self.order = np.arange(len(self.labels)) if order is None else order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, np.ndarray | int]:
        row = self.order[index]
        return {"input_ids": self.ids[self.starts[row] : self.starts[row + 1]], "labels": int(self.labels[row])}


def by_length(split: datasets.Dataset) -> np.ndarray:
    """Row numbers, longest first: an order whose batches hold little padding, and that runs out of memory at once."""
    return np.argsort(-split.data.column("length").to_numpy(), kind="stable")


@dataclass
class PaddingCollator:
    """Stacks rows into a batch, padded on the right to its longest row.

    Returns `input_ids` and `attention_mask`, `(B, T)`, and `labels`, `(B,)`, all int64.
    """

    pad_token_id: int

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        lengths = np.array([len(row["input_ids"]) for row in rows])
        ids = np.full((len(rows), lengths.max()), self.pad_token_id, dtype=np.int64)
        mask = np.arange(ids.shape[1]) < lengths[:, None]
        ids[mask] = np.concatenate([row["input_ids"] for row in rows])
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
            "labels": torch.tensor([row["labels"] for row in rows]),
        }
