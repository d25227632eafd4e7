"""The cache of features: what a frozen encoder computes of each row, computed once, stored on disk, read in batches."""

import hashlib
import json
import os
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import torch
from safetensors.torch import load_file
from tqdm import tqdm

from stages.core.cache import FolderCache
from stages.model.partition import FrozenEncoder
from stages.text.batches import (
    RowDataset,
    TokenRows,
    add_attention_mask,
    make_mask,
    repeat_last,
    sort_by_length,
)

# Tokens that the frozen encoder computes at once. On a CPU, activations of more tokens leave the processor's cache.
TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 65536}
SHARD_BYTES = 2**30
MEMORY_SHARE = 0.5  # of the free memory, for the features of all splits together; the training needs the rest
PIECE_BYTES = 2**28  # of pinned memory: PyTorch rounds each allocation up to a power of two


class CachedFeatures(RowDataset):
    """A split as the features of its rows.

    A batch has `inputs_embeds`, `(B, T, D)`, `attention_mask`, `(B, T)`, when something is padded, and `labels`,
    `(B,)`; T is 1 when all layers are frozen, while `lengths` still counts tokens. Features are read from disk, and the
    operating system caches what fits its memory. With a GPU they are held in its memory or, when they do not fit there,
    in pinned memory: `memory` has them as one tensor, or as pieces of `piece` positions; it is empty for those on disk.
    """

    def __init__(self, folder: Path, rows: TokenRows, frozen: FrozenEncoder):
        self.lengths, self.positions = rows.lengths, count_positions(frozen, rows)
        self.labels, self.documents = rows.labels, rows.documents
        self.widths = self.positions if frozen.pooled else rows.widths
        self.max_length = rows.max_length
        self.dtype, self.device, self.width = frozen.dtype, frozen.device, frozen.width
        self.position_bytes = self.width * self.dtype.itemsize
        self.starts, shards = assign_shards(frozen, rows)
        paths = [folder / shard_name(number) for number in range(shards.max() + 1)]
        files = np.array([os.open(path, os.O_RDONLY) for path in paths])
        header_bytes = np.array([8 + int.from_bytes(os.pread(file, 8, 0), "little") for file in files])
        shard_starts = np.array([self.starts[shards == number].min() for number in range(len(files))])
        self.files = files[shards]
        self.offsets = header_bytes[shards] + (self.starts - shard_starts[shards]) * self.position_bytes
        self.memory: list[torch.Tensor] = []
        self.piece = max(PIECE_BYTES // self.position_bytes, 1)
        if self.device.type == "cuda":
            self.load_into_memory(paths)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        rows = np.asarray(indices)
        mask = make_mask(self.positions[rows], int(self.widths[rows].max()))
        if not self.memory:
            features = self.read_from_disk(rows, mask.shape[1])
        elif self.memory[0].device.type == self.device.type:
            features = self.gather_from_gpu(self.memory[0], rows, mask.shape[1])
        else:
            features = self.copy_from_pinned(self.memory, rows, mask.shape[1])
        batch = {"inputs_embeds": features, "labels": torch.from_numpy(self.labels[rows])}
        return add_attention_mask(batch, mask)

    def read_from_disk(self, rows: np.ndarray, width: int) -> torch.Tensor:
        features = torch.zeros(len(rows), width, self.width, dtype=self.dtype)
        for row, values in zip(rows, features.view(torch.uint8).numpy().reshape(len(rows), -1), strict=True):
            wanted = values[: self.positions[row] * self.position_bytes]
            if os.preadv(self.files[row], [wanted.data], self.offsets[row]) != len(wanted):
                raise OSError("cached features of the frozen layers were truncated while they were in use")
        return features

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

    def load_into_memory(self, paths: list[Path]) -> None:
        """Fill `memory`, in the GPU or pinned, where the features of all splits leave room for the training."""
        positions = int(self.positions.sum())
        size = positions * self.position_bytes
        torch.cuda.empty_cache()  # memory that torch reserves and does not use then counts as free
        try:
            if size < find_room("cuda", torch.cuda.mem_get_info()[0]):
                self.memory = [torch.empty(positions, self.width, dtype=self.dtype, device=self.device)]
            elif size + PIECE_BYTES < find_room("cpu", psutil.virtual_memory().available):
                sizes = [min(self.piece, positions - start) for start in range(0, positions, self.piece)]
                self.memory = [torch.empty(size, self.width, dtype=self.dtype, pin_memory=True) for size in sizes]
            copy_shards(paths, self.memory)
        except RuntimeError as error:  # another process took the memory in the meantime
            self.memory = []
            print(f"features of the frozen layers are read from disk: {error}")
        if self.memory:
            in_memory.add(self)


in_memory: weakref.WeakSet[CachedFeatures] = weakref.WeakSet()  # until they are deleted, which frees the memory


def find_room(device_type: str, free: int) -> float:
    """Bytes that features may still take of a memory of which `free` bytes are free."""
    held = sum(
        tensor.nbytes for features in in_memory for tensor in features.memory if tensor.device.type == device_type
    )
    return MEMORY_SHARE * (free + held) - held


def copy_shards(paths: list[Path], memory: list[torch.Tensor]) -> None:
    """Copy the values of the shards into tensors that together have as many positions."""
    if not memory:
        return
    number = offset = 0
    for path in paths:
        values = load_file(path)["hidden"]
        while len(values):
            part = values[: len(memory[number]) - offset]
            memory[number][offset : offset + len(part)] = part
            values, offset = values[len(part) :], offset + len(part)
            if offset == len(memory[number]):
                number, offset = number + 1, 0


def cache_features(
    frozen: FrozenEncoder, rows: TokenRows, split: str, cache: FolderCache
) -> tuple[CachedFeatures, dict[str, float]]:
    """Find a split's features in the cache, or compute and store them; return them with hit, seconds and bytes."""
    started = time.perf_counter()
    size = count_feature_bytes(frozen, rows)
    key = frozen.key_at(frozen.depth) | {"tokens": hash_tokens(rows)}
    folder, found = cache.fetch(key, size, lambda folder: write_features(frozen, rows, split, folder))
    features = CachedFeatures(folder, rows, frozen)
    seconds, action = time.perf_counter() - started, "found" if found else "computed and stored"
    print(f"features of the frozen layers for {split}: {action} in {folder} ({size / 2**20:,.1f} MiB, {seconds:.1f} s)")
    return features, {
        f"{split}_hit": float(found),
        f"{split}_seconds": round(seconds, 2),
        f"{split}_bytes": float(size),
    }


def count_positions(frozen: FrozenEncoder, rows: TokenRows) -> np.ndarray:
    """Positions of each row whose features are stored, `(N,)`: all tokens, or only the first."""
    return np.ones_like(rows.lengths) if frozen.pooled else rows.lengths


def count_feature_bytes(frozen: FrozenEncoder, rows: TokenRows) -> int:
    """Size of the features of a split."""
    return int(count_positions(frozen, rows).sum()) * frozen.width * frozen.dtype.itemsize


def write_features(frozen: FrozenEncoder, rows: TokenRows, split: str, folder: Path) -> None:
    """Write safetensors shards with one tensor, `hidden`, `(positions, D)`, longest rows first, without padding."""
    lengths = count_positions(frozen, rows)
    _, shards = assign_shards(frozen, rows)
    with ExitStack() as stack:
        files = []
        for number, count in enumerate(np.bincount(shards, lengths)):
            files.append(stack.enter_context((folder / shard_name(number)).open("wb")))
            files[-1].write(make_header(int(count), frozen.width, frozen.dtype))
        with tqdm(total=len(rows), desc=f"frozen layers on {split}", unit=" rows") as bar:
            for batch, values in compute_features(frozen, rows):
                for number in np.unique(shards[batch]):
                    count = lengths[batch][shards[batch] == number].sum()
                    files[number].write(values[:count].view(torch.uint8).numpy().data)
                    values = values[count:]
                bar.update(len(batch))


def compute_features(frozen: FrozenEncoder, rows: TokenRows) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Yield the numbers of the rows of each batch, longest rows first, and their features `(positions, D)` on the CPU.

    All rows of a batch have the same width. When the memory of a GPU does not hold a batch, it and those that follow
    are made half as large.
    """
    order, lengths = sort_by_length(rows.lengths), count_positions(frozen, rows)
    widths = rows.widths[order]
    start, budget = 0, TOKENS_PER_BATCH[frozen.device.type]
    while start < len(order):
        width = int(widths[start])
        size = max(budget // width, 1)
        batch = order[start : start + np.count_nonzero(widths[start : start + size] == width)]
        filled = repeat_last(batch, size) if frozen.device.type == "cuda" else batch
        try:
            inputs = {name: value.to(frozen.device) for name, value in rows.__getitems__(filled.tolist()).items()}
            features = frozen(inputs)["inputs_embeds"][: len(batch)]
            mask = torch.from_numpy(make_mask(lengths[batch], features.shape[1])).to(frozen.device)
            values = features[mask].cpu()  # one copy for all rows, so that the GPU does not wait for each
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            budget //= 2
            torch.cuda.empty_cache()
            continue
        yield batch, values
        start += len(batch)


def assign_shards(frozen: FrozenEncoder, rows: TokenRows) -> tuple[np.ndarray, np.ndarray]:
    """First position of each row among those of all shards, and the number of its shard, `(N,)` each.

    Rows with the most tokens come first, and a shard is full at 1 GiB.
    """
    order, lengths = sort_by_length(rows.lengths), count_positions(frozen, rows)
    starts = np.empty(len(rows), dtype=np.int64)
    starts[order] = np.cumsum(lengths[order]) - lengths[order]
    return starts, starts * frozen.width * frozen.dtype.itemsize // SHARD_BYTES


def make_header(positions: int, width: int, dtype: torch.dtype) -> bytes:
    """The header of a safetensors file with one tensor, whose values can then be written row by row."""
    name = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}[dtype]
    size = positions * width * dtype.itemsize
    text = json.dumps({"hidden": {"dtype": name, "shape": [positions, width], "data_offsets": [0, size]}})
    text += " " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text.encode()


def shard_name(number: int) -> str:
    return f"hidden-{number:05}.safetensors"


def hash_tokens(rows: TokenRows) -> str:
    """SHA-256 of a split's tokens; features do not depend on its labels."""
    digest = hashlib.sha256(rows.lengths.astype(np.int64).data)
    for name, values in rows.tokens.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
