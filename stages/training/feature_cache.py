"""What the frozen half of a model makes of each row: computed once, kept on disk, read in batches."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import torch
from safetensors.torch import load_file
from torch.utils.data import Dataset
from tqdm import tqdm

from stages.core.cache import FolderCache
from stages.model.partition import FrozenEncoder
from stages.text.batches import (
    TokenBudgetBatches,
    TokenRows,
    add_attention_mask,
    make_mask,
    round_up_widths,
    sort_by_length,
)

# Tokens that the frozen half runs on at once. On a CPU, activations of more leave the cache.
BUDGET = {"cpu": 2048, "cuda": 65536}
SHARD_BYTES = 2**30


class CachedFeatures(Dataset):
    """A split as the outputs of the frozen half, which gives whole batches.

    A batch has `inputs_embeds`, `(B, T, D)`, `attention_mask`, `(B, T)`, where something is padded, and `labels`,
    `(B,)`; T is 1 where all layers are frozen, while `lengths` still counts tokens. Outputs are read from disk, where
    the system keeps what it has memory for. With a GPU they lie in its memory, or else in pinned memory, when they fit.
    """

    def __init__(self, folder: Path, rows: TokenRows, frozen: FrozenEncoder):
        self.lengths, self.positions = rows.lengths, count_positions(frozen, rows)
        self.labels, self.documents = rows.labels, rows.documents
        self.widths = round_up_widths(self.positions)
        self.dtype, self.device, self.width = frozen.dtype, frozen.device, frozen.width
        self.row_bytes = self.width * self.dtype.itemsize
        self.starts, shards = layout(frozen, rows)
        paths = [folder / shard_name(number) for number in range(shards.max() + 1)]
        files = np.array([os.open(path, os.O_RDONLY) for path in paths])
        heads = np.array([8 + int.from_bytes(os.pread(file, 8, 0), "little") for file in files])
        firsts = np.array([self.starts[shards == number].min() for number in range(len(files))])
        self.files, self.offsets = files[shards], heads[shards] + (self.starts - firsts[shards]) * self.row_bytes
        size = int(self.positions.sum()) * self.row_bytes
        self.memory = in_memory(paths, size) if self.device.type == "cuda" else None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """What a DataLoader asks for: all rows of a batch at once."""
        rows = np.asarray(indices)
        mask = make_mask(self.positions[rows], self.widths[rows].max())
        if self.memory is None:
            hidden = self.from_disk(rows, mask.shape[1])
        elif self.memory.device.type == self.device.type:
            hidden = self.gathered(rows, mask.shape[1])
        else:
            hidden = self.copied(rows, mask.shape[1])
        batch = {"inputs_embeds": hidden, "labels": torch.from_numpy(self.labels[rows])}
        return add_attention_mask(batch, mask)

    def from_disk(self, rows: np.ndarray, longest: int) -> torch.Tensor:
        hidden = torch.zeros(len(rows), longest, self.width, dtype=self.dtype)
        for row, values in zip(rows, hidden.view(torch.uint8).numpy().reshape(len(rows), -1), strict=True):
            wanted = values[: self.positions[row] * self.row_bytes]
            if os.preadv(self.files[row], [wanted], self.offsets[row]) != len(wanted):
                raise OSError("kept outputs of frozen layers were cut off while they were in use")
        return hidden

    def gathered(self, rows: np.ndarray, longest: int) -> torch.Tensor:
        """From the device's memory in one kernel; what lies behind a row's end repeats its last position."""
        index = self.starts[rows, None] + np.minimum(np.arange(longest), self.positions[rows, None] - 1)
        return self.memory[torch.from_numpy(index).to(self.device)]

    def copied(self, rows: np.ndarray, longest: int) -> torch.Tensor:
        """From pinned memory, row by row, so that the CPU neither gathers nor waits."""
        hidden = torch.zeros(len(rows), longest, self.width, dtype=self.dtype, device=self.device)
        for row, values in zip(rows, hidden, strict=True):
            start, length = self.starts[row], self.positions[row]
            values[:length].copy_(self.memory[start : start + length], non_blocking=True)
        return hidden


def in_memory(paths: list[Path], size: int) -> torch.Tensor | None:
    """All shards as one tensor, in the GPU's memory or pinned; None where neither has room (joining takes it twice)."""
    torch.cuda.empty_cache()  # what torch holds and does not use counts as free
    try:
        if 2 * size < 0.8 * torch.cuda.mem_get_info()[0]:
            return torch.cat([load_file(path, device="cuda")["hidden"] for path in paths])
        if 2 * size < 0.8 * psutil.virtual_memory().available:
            return torch.cat([load_file(path)["hidden"] for path in paths]).pin_memory()
    except RuntimeError as error:  # another process was faster
        print(f"outputs of the frozen layers stay on disk: {error}")
    return None


def cache_features(
    frozen: FrozenEncoder, rows: TokenRows, split: str, cache: FolderCache
) -> tuple[CachedFeatures, dict[str, float]]:
    """Run the frozen half on a split, unless that was done before; return its rows and what it took."""
    started, size = time.perf_counter(), count_feature_bytes(frozen, rows)
    key = frozen.key | {"tokens": hash_tokens(rows)}
    folder, found = cache.fetch(key, size, lambda folder: write_features(frozen, rows, split, folder))
    kept = CachedFeatures(folder, rows, frozen)
    seconds, did = time.perf_counter() - started, "found" if found else "computed and kept"
    print(f"outputs of the frozen layers for {split}: {did} in {folder} ({size / 2**20:,.1f} MiB, {seconds:.1f} s)")
    return kept, {f"{split}_hit": float(found), f"{split}_seconds": round(seconds, 2), f"{split}_bytes": float(size)}


def count_positions(frozen: FrozenEncoder, rows: TokenRows) -> np.ndarray:
    """Positions that are kept of each row."""
    return np.ones_like(rows.lengths) if frozen.first_token else rows.lengths


def count_feature_bytes(frozen: FrozenEncoder, rows: TokenRows) -> int:
    """What the outputs for a split take."""
    return int(count_positions(frozen, rows).sum()) * frozen.width * frozen.dtype.itemsize


def write_features(frozen: FrozenEncoder, rows: TokenRows, split: str, folder: Path) -> None:
    """Write safetensors shards with one tensor, `hidden`, `(positions, D)`, rows longest first and without padding."""
    lengths, (_, shards) = count_positions(frozen, rows), layout(frozen, rows)
    positions = np.bincount(shards, lengths)
    files = [(folder / shard_name(number)).open("wb") for number in range(len(positions))]
    try:
        for file, count in zip(files, positions, strict=True):
            file.write(header(int(count), frozen.width, frozen.dtype))
        with tqdm(total=len(rows), desc=f"frozen layers on {split}", unit=" rows") as bar:
            for batch in TokenBudgetBatches(rows.lengths, BUDGET[frozen.device.type]):
                inputs = {name: value.to(frozen.device) for name, value in rows.__getitems__(batch).items()}
                hidden = frozen(inputs)["inputs_embeds"].cpu()
                for row, values in zip(batch, hidden, strict=True):
                    files[shards[row]].write(values[: lengths[row]].contiguous().view(torch.uint8).numpy())
                bar.update(len(batch))
    finally:
        for file in files:
            file.close()


def layout(frozen: FrozenEncoder, rows: TokenRows) -> tuple[np.ndarray, np.ndarray]:
    """First position and shard of each row: rows with the most tokens come first, and a shard is full at 1 GiB."""
    order, lengths = sort_by_length(rows.lengths), count_positions(frozen, rows)
    starts = np.empty(len(rows), dtype=np.int64)
    starts[order] = np.cumsum(lengths[order]) - lengths[order]
    return starts, starts * frozen.width * frozen.dtype.itemsize // SHARD_BYTES


def header(positions: int, width: int, dtype: torch.dtype) -> bytes:
    """The head of a safetensors file that holds one tensor, so that the tensor can follow row by row."""
    name = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}[dtype]
    size = positions * width * dtype.itemsize
    text = json.dumps({"hidden": {"dtype": name, "shape": [positions, width], "data_offsets": [0, size]}})
    text += " " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text.encode()


def shard_name(number: int) -> str:
    return f"hidden-{number:05}.safetensors"


def hash_tokens(rows: TokenRows) -> str:
    """SHA-256 of a split's tokens; its labels do not matter here."""
    digest = hashlib.sha256(rows.lengths.astype(np.int64))
    for name, values in rows.tokens.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values))
    return digest.hexdigest()
