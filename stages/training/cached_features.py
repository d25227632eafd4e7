"""A split as features in memory or on disk, from which batches are made."""

import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import psutil
import torch

from stages.core import ranks
from stages.model.partition import FrozenEncoder
from stages.text.batches import RowDataset, TokenRows, add_attention_mask
from stages.text.labels import make_label_tensor
from stages.text.padding import make_mask
from stages.training.feature_store import StoredRows

MEMORY_SHARE = 0.5  # of the free memory, for the features of all splits together; the training needs the rest
PIECE_BYTES = 2**28  # of pinned memory: PyTorch rounds each allocation up to a power of two
READ_BYTES = 2**24  # at once, when rows are copied from disk into memory


class CachedFeatures(RowDataset):
    """A split as the features of its rows.

    A batch has `inputs_embeds`, `(B, T, D)`, `attention_mask`, `(B, T)`, when something is padded, and `labels`;
    T is 1 when all layers are frozen, while `lengths` still counts tokens. Features are read from disk, and the
    operating system caches what fits its memory. With a GPU they are held in its memory or, when they do not fit there,
    in pinned memory: `memory` has them as one tensor, or as pieces of `piece` positions; it is empty for those on disk.
    """

    def __init__(self, rows: TokenRows, stored: StoredRows, frozen: FrozenEncoder):
        self.lengths, self.positions = rows.lengths, stored.positions
        self.labels, self.documents = rows.labels, rows.documents
        self.widths = self.positions if frozen.pooled else rows.widths
        self.max_length = rows.max_length
        self.dtype, self.device, self.width = frozen.dtype, frozen.device, frozen.width
        self.stored = stored
        places = np.stack([stored.files, stored.offsets], axis=1)
        _, self.distinct, numbers = np.unique(places, axis=0, return_index=True, return_inverse=True)
        ends = np.cumsum(self.positions[self.distinct])
        self.starts = (ends - self.positions[self.distinct])[numbers.ravel()]  # of each row in `memory`, in positions
        self.memory: list[torch.Tensor] = []
        self.piece = max(PIECE_BYTES // stored.position_bytes, 1)
        if self.device.type == "cuda":
            self.load_into_memory()

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        rows = np.asarray(indices)
        mask = make_mask(self.positions[rows], int(self.widths[rows].max()))
        if not self.memory:
            features = self.stored.read(rows, mask.shape[1])
        elif self.memory[0].device.type == self.device.type:
            features = self.gather_from_gpu(self.memory[0], rows, mask.shape[1])
        else:
            features = self.copy_from_pinned(self.memory, rows, mask.shape[1])
        batch = {"inputs_embeds": features, "labels": make_label_tensor(self.labels[rows])}
        return add_attention_mask(batch, mask)

    def gather_from_gpu(self, memory: torch.Tensor, rows: np.ndarray, width: int) -> torch.Tensor:
        """From the GPU's memory in one kernel; padding repeats the row's last position."""
        index = self.starts[rows, None] + np.minimum(np.arange(width), self.positions[rows, None] - 1)
        return memory[torch.from_numpy(index).to(self.device)]

    def copy_from_pinned(self, memory: list[torch.Tensor], rows: np.ndarray, width: int) -> torch.Tensor:
        """From pinned memory row by row, so that the CPU neither gathers rows nor waits for the copies."""
        features = torch.zeros(len(rows), width, self.width, dtype=self.dtype, device=self.device)
        for row, values in zip(rows, features, strict=True):
            done, length = 0, int(self.positions[row])
            while done < length:  # twice, where a row continues in the next piece
                number, offset = divmod(int(self.starts[row]) + done, self.piece)
                part = memory[number][offset : offset + length - done]
                values[done : done + len(part)].copy_(part, non_blocking=True)
                done += len(part)
        return features

    def load_into_memory(self) -> None:
        """Fill `memory`, in the GPU or pinned, where the features of all splits leave room for the training."""
        positions = int(self.positions[self.distinct].sum())
        size = positions * self.stored.position_bytes
        torch.cuda.empty_cache()  # memory that torch reserves and does not use then counts as free
        try:
            if size < find_room("cuda", torch.cuda.mem_get_info()[0]):
                self.memory = [torch.empty(positions, self.width, dtype=self.dtype, device=self.device)]
            elif size + PIECE_BYTES < find_room("cpu", find_host_memory()):
                sizes = [min(self.piece, positions - start) for start in range(0, positions, self.piece)]
                self.memory = [torch.empty(size, self.width, dtype=self.dtype, pin_memory=True) for size in sizes]
            if self.memory:
                self.fill(self.memory)
        except RuntimeError as error:  # another process took the memory in the meantime
            self.memory = []
            print(f"features of the frozen layers are read from disk: {error}")
        if self.memory:
            in_memory.add(self)

    def fill(self, memory: list[torch.Tensor]) -> None:
        """Copy the rows from disk, each stored row once, into tensors that together have as many positions."""
        number = offset = 0
        for values in self.read_in_order():
            while len(values):
                part = values[: len(memory[number]) - offset]
                memory[number][offset : offset + len(part)] = part
                values, offset = values[len(part) :], offset + len(part)
                if offset == len(memory[number]):
                    number, offset = number + 1, 0

    def read_in_order(self) -> Iterator[torch.Tensor]:
        """The stored rows in the order of `starts`, which is that on disk, as tensors `(P, D)` of some MiB."""
        lengths = self.positions[self.distinct]
        sizes = np.cumsum(lengths) * self.stored.position_bytes
        for part in np.split(self.distinct, np.flatnonzero(np.diff(sizes // READ_BYTES)) + 1):
            ends = np.cumsum(self.positions[part])
            values = torch.empty(ends[-1], self.width, dtype=self.dtype)
            data = values.view(torch.uint8).numpy().reshape(-1)
            for row, end in zip(part, ends * self.stored.position_bytes, strict=True):
                self.stored.read_row(row, data[end - self.positions[row] * self.stored.position_bytes : end])
            yield values


in_memory: weakref.WeakSet[CachedFeatures] = weakref.WeakSet()  # until they are deleted, which frees the memory


def find_host_memory() -> int:
    """Bytes of the host's free memory that are for this process; ranks on one host share them."""
    return psutil.virtual_memory().available // ranks.count_ranks_of_host()


def find_room(device_type: str, free: int) -> float:
    """Bytes that features may still take of a memory of which `free` bytes are free."""
    held = sum(
        tensor.nbytes for features in in_memory for tensor in features.memory if tensor.device.type == device_type
    )
    return MEMORY_SHARE * (free + held) - held
