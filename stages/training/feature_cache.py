"""The cache of features: what a frozen encoder computes of each row, computed once, stored on disk, read in batches."""

import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import psutil
import torch
from tqdm import tqdm

from stages.core import ranks
from stages.core.cache import FolderCache
from stages.model.partition import FrozenEncoder
from stages.text.batches import RowDataset, TokenRows, add_attention_mask
from stages.text.labels import make_label_tensor
from stages.text.padding import make_mask, repeat_last, sort_by_length
from stages.training.feature_store import FeatureStore, StoredRows, hash_rows

# Tokens that the frozen encoder computes at once. On a CPU, activations of more tokens leave the processor's cache.
TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 65536}
SHARD_BYTES = 2**30
MEMORY_SHARE = 0.5  # of the free memory, for the features of all splits together; the training needs the rest
PIECE_BYTES = 2**28  # of pinned memory: PyTorch rounds each allocation up to a power of two
SECONDS_TO_APPEAR = 90  # a directory in NFS is listed anew after at most 60 seconds (acdirmax in nfs(5))
READ_BYTES = 2**24  # at once, when rows are copied from disk into memory
REPORTED = ("rows_computed", "rows_found", "seconds", "bytes")


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


def cache_features(
    frozen: FrozenEncoder, splits: dict[str, TokenRows], cache: FolderCache
) -> tuple[dict[str, CachedFeatures], dict[str, float]]:
    """Find the features of the splits' rows in the cache; compute and store those that are missing, in shares.

    The report has for each split the number of rows that were computed and found, seconds, and bytes. Of rows with
    equal tokens, one is computed, and the others are found. OSError when a rank cannot store or read features.
    """
    store = FeatureStore(frozen, cache)
    stored, seconds = {}, dict.fromkeys(splits, 0.0)
    features: dict[str, CachedFeatures] = {}
    report: dict[str, float] = {}
    with ranks.first_only(store.lock):
        for split, rows in splits.items():  # all, before the first is computed and may need the room of others
            with measure_seconds(split, seconds), ranks.failing_together():
                stored[split] = StoredRows(hash_rows(rows), count_positions(frozen, rows), frozen.width, frozen.dtype)
                store.find(stored[split], np.arange(len(rows)), frozen.depth)
        for split, rows in splits.items():
            with measure_seconds(split, seconds):
                computed, continued = store_missing(store, rows, stored[split], split)
                with ranks.failing_together():
                    find_stored(store, stored[split])
                    features[split] = CachedFeatures(rows, stored[split], frozen)
            size = count_feature_bytes(frozen, rows)
            values = (computed, len(rows) - computed, round(seconds[split], 2), size)
            report |= {f"{split}_{name}": float(value) for name, value in zip(REPORTED, values, strict=True)}
            continuing = f", {continued:,} of them from the outputs of fewer layers" if continued else ""
            print(
                f"features of the frozen layers for {split}: {len(rows) - computed:,} rows found and {computed:,} "
                f"computed{continuing}, in {cache.folder} ({size / 2**20:,.1f} MiB, {seconds[split]:.1f} s)"
            )
    return features, report


@contextmanager
def measure_seconds(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Add the seconds that the block takes to `seconds[name]`."""
    started = time.perf_counter()
    yield
    seconds[name] += time.perf_counter() - started


def count_positions(frozen: FrozenEncoder, rows: TokenRows) -> np.ndarray:
    """Positions of each row whose features are stored, `(N,)`: all tokens, or only one."""
    return np.ones_like(rows.lengths) if frozen.pooled else rows.lengths


def count_feature_bytes(frozen: FrozenEncoder, rows: TokenRows) -> int:
    """Size of the features of a split, when no two of its rows have equal tokens."""
    return int(count_positions(frozen, rows).sum()) * frozen.width * frozen.dtype.itemsize


def store_missing(store: FeatureStore, rows: TokenRows, stored: StoredRows, split: str) -> tuple[int, int]:
    """Compute and store the features of rows that are not stored, each rank those of its share, longest first.

    Returns how many rows all ranks computed, and how many of them from outputs of fewer layers.
    """
    with ranks.failing_together():
        store.find(stored, np.flatnonzero(stored.files < 0), store.frozen.depth)  # equal rows of a split before this
    missing = stored.find_missing()
    missing = ranks.broadcast(missing[sort_by_length(rows.lengths[missing])])
    continued = 0
    with ranks.failing_together():
        continued = store_rows(store, rows, stored, ranks.share(missing), split)
    return len(missing), sum(ranks.gather(continued))


def store_rows(store: FeatureStore, rows: TokenRows, stored: StoredRows, missing: np.ndarray, split: str) -> int:
    """Compute and store the features of these rows, longest first.

    Rows whose outputs of fewer layers are in the cache are computed from these, the deepest first. Returns how many.
    """
    frozen, continued = store.frozen, 0
    is_hidden = not len(missing) or ranks.get_rank() > 0
    with tqdm(total=len(missing), desc=f"frozen layers on {split}", unit=" rows", disable=is_hidden) as bar:
        for depth in range(frozen.depth - 1, -1, -1):
            source = StoredRows(stored.keys, rows.lengths, frozen.width, frozen.dtype)
            if depth > 0:
                store.find(source, missing, depth)
            is_chosen = (source.files[missing] >= 0) | (depth == 0)
            for part in split_into_shards(missing[is_chosen], stored):
                store.write(stored, part, compute_features(frozen, rows, part, source, depth, bar))
            missing = missing[~is_chosen]
            continued += int(is_chosen.sum()) if depth > 0 else 0
    return continued


def find_stored(store: FeatureStore, stored: StoredRows) -> None:
    """Find what was just written; OSError when that is not possible.

    A file system of a network may show what another host wrote only after some seconds.
    """
    deadline = time.monotonic() + (SECONDS_TO_APPEAR if ranks.count_ranks() > 1 else 0)
    while True:
        store.find(stored, np.flatnonzero(stored.files < 0), store.frozen.depth)
        if (stored.files >= 0).all():
            return
        if time.monotonic() > deadline:
            raise OSError("features that were just written cannot be read")
        time.sleep(1)


def split_into_shards(rows: np.ndarray, stored: StoredRows) -> list[np.ndarray]:
    """Parts of row numbers, at most 1 GiB of features each, or a single row."""
    starts = np.cumsum(stored.positions[rows]) - stored.positions[rows]
    shards = starts * stored.position_bytes // SHARD_BYTES
    return np.split(rows, np.flatnonzero(np.diff(shards)) + 1) if len(rows) else []


def compute_features(
    frozen: FrozenEncoder, rows: TokenRows, order: np.ndarray, source: StoredRows, depth: int, bar: tqdm
) -> Iterator[torch.Tensor]:
    """Yield the features of the rows in `order`, longest first, in batches `(positions, D)` on the CPU.

    They are computed from tokens or, when `depth` is not 0, from the outputs of so many layers in `source`. All rows of
    a batch have the same width. When the memory of a GPU does not hold a batch, it and those that follow are made half
    as large.
    """
    widths, positions = rows.widths[order], count_positions(frozen, rows)
    start, budget = 0, TOKENS_PER_BATCH[frozen.device.type]
    while start < len(order):
        width = int(widths[start])
        size = max(budget // width, 1)
        batch = order[start : start + np.count_nonzero(widths[start : start + size] == width)]
        filled = repeat_last(batch, size) if frozen.device.type == "cuda" else batch
        try:
            inputs = read_inputs(rows, filled, source) if depth > 0 else rows.__getitems__(filled.tolist())
            inputs = {name: value.to(frozen.device) for name, value in inputs.items()}
            features = frozen(inputs, depth)["inputs_embeds"][: len(batch)]
            mask = torch.from_numpy(make_mask(positions[batch], features.shape[1])).to(frozen.device)
            values = features[mask].cpu()  # one copy for all rows, so that the GPU does not wait for each
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            budget = size * width // 2
            torch.cuda.empty_cache()
            continue
        yield values
        start += len(batch)
        bar.update(len(batch))


def read_inputs(rows: TokenRows, batch: np.ndarray, source: StoredRows) -> dict[str, torch.Tensor]:
    """A batch of stored outputs of fewer layers, as the frozen encoder continues from them."""
    mask = make_mask(rows.lengths[batch], int(rows.widths[batch].max()))
    return add_attention_mask({"inputs_embeds": source.read(batch, mask.shape[1])}, mask)
