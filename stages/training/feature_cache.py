"""The cache of features: what a frozen encoder computes of each row, computed once, stored on disk, read in batches."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
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
    TokenBudgetBatches,
    TokenRows,
    add_attention_mask,
    make_mask,
    round_up_widths,
    sort_by_length,
)

# Tokens that the frozen encoder computes at once. On a CPU, activations of more tokens leave the processor's cache.
TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 65536}
SHARD_BYTES = 2**30
MEMORY_SHARE = 0.8  # of the free memory, at most, for features that are held in memory


class CachedFeatures(RowDataset):
    """A split as the features of its rows.

    A batch has `inputs_embeds`, `(B, T, D)`, `attention_mask`, `(B, T)`, when something is padded, and `labels`,
    `(B,)`; T is 1 when all layers are frozen, while `lengths` still counts tokens. Features are read from disk, and the
    operating system caches what fits its memory. With a GPU they are held in its memory or, when they do not fit there,
    in pinned memory.
    """

    def __init__(self, folder: Path, rows: TokenRows, frozen: FrozenEncoder):
        self.lengths, self.positions = rows.lengths, count_positions(frozen, rows)
        self.labels, self.documents = rows.labels, rows.documents
        self.widths = round_up_widths(self.positions)
        self.dtype, self.device, self.width = frozen.dtype, frozen.device, frozen.width
        self.position_bytes = self.width * self.dtype.itemsize
        self.starts, shards = assign_shards(frozen, rows)
        paths = [folder / shard_name(number) for number in range(shards.max() + 1)]
        files = np.array([os.open(path, os.O_RDONLY) for path in paths])
        header_bytes = np.array([8 + int.from_bytes(os.pread(file, 8, 0), "little") for file in files])
        shard_starts = np.array([self.starts[shards == number].min() for number in range(len(files))])
        self.files = files[shards]
        self.offsets = header_bytes[shards] + (self.starts - shard_starts[shards]) * self.position_bytes
        size = int(self.positions.sum()) * self.position_bytes
        self.memory = load_into_memory(paths, size) if self.device.type == "cuda" else None

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        rows = np.asarray(indices)
        mask = make_mask(self.positions[rows], int(self.widths[rows].max()))
        if self.memory is None:
            features = self.read_from_disk(rows, mask.shape[1])
        elif self.memory.device.type == self.device.type:
            features = self.gather_from_gpu(self.memory, rows, mask.shape[1])
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

    def copy_from_pinned(self, memory: torch.Tensor, rows: np.ndarray, width: int) -> torch.Tensor:
        """From pinned memory row by row, so that the CPU neither gathers rows nor waits for the copies."""
        features = torch.zeros(len(rows), width, self.width, dtype=self.dtype, device=self.device)
        for row, values in zip(rows, features, strict=True):
            start, length = self.starts[row], self.positions[row]
            values[:length].copy_(memory[start : start + length], non_blocking=True)
        return features


def load_into_memory(paths: list[Path], size: int) -> torch.Tensor | None:
    """All shards as one tensor, in the GPU's memory or pinned; None when neither has room for two copies.

    Joining the shards needs the second copy.
    """
    device = f"cuda:{torch.cuda.current_device()}"  # safetensors takes "cuda" for the first one
    torch.cuda.empty_cache()  # memory that torch reserves and does not use then counts as free
    try:
        if 2 * size < MEMORY_SHARE * torch.cuda.mem_get_info()[0]:
            return torch.cat([load_file(path, device=device)["hidden"] for path in paths])
        if 2 * size < MEMORY_SHARE * psutil.virtual_memory().available:
            return torch.cat([load_file(path)["hidden"] for path in paths]).pin_memory()
    except RuntimeError as error:  # another process took the memory in the meantime
        print(f"features of the frozen layers are read from disk: {error}")
    return None


def cache_features(
    frozen: FrozenEncoder, rows: TokenRows, split: str, cache: FolderCache
) -> tuple[CachedFeatures, dict[str, float]]:
    """Find a split's features in the cache, or compute and store them; return them with hit, seconds and bytes."""
    started = time.perf_counter()
    size = count_feature_bytes(frozen, rows)
    key = frozen.key | {"tokens": hash_tokens(rows)}
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
    return np.ones_like(rows.lengths) if frozen.first_token_only else rows.lengths


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
            for batch in TokenBudgetBatches(rows.lengths, TOKENS_PER_BATCH[frozen.device.type]):
                inputs = {name: value.to(frozen.device) for name, value in rows.__getitems__(batch).items()}
                features = frozen(inputs)["inputs_embeds"].cpu()
                for row, values in zip(batch, features, strict=True):
                    stored = values[: lengths[row]].contiguous().view(torch.uint8).numpy()
                    files[shards[row]].write(stored.data)
                bar.update(len(batch))


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
