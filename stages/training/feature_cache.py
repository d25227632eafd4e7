"""The cache of features: what a frozen encoder computes of each row, computed once and stored on disk."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from tqdm import tqdm

from stages.core import ranks
from stages.core.cache import FolderCache
from stages.model.partition import FrozenEncoder
from stages.text.batches import TokenRows, add_attention_mask
from stages.text.padding import make_mask, repeat_last, sort_by_length
from stages.training.cached_features import CachedFeatures
from stages.training.feature_store import FeatureStore, StoredRows, hash_rows

# Tokens that the frozen encoder computes at once. On a CPU, activations of more tokens leave the processor's cache.
TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 65536}
SHARD_BYTES = 2**30
SECONDS_TO_APPEAR = 90  # a directory in NFS is listed anew after at most 60 seconds (acdirmax in nfs(5))
REPORTED = ("rows_computed", "rows_found", "seconds", "bytes")


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
