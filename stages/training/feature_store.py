"""Features on disk: shards of rows, found by the rows' tokens and by what computed the features.

A shard is a folder of the cache with one safetensors file, which is written in one piece and never changed. There is no
index that could disagree with the shards: who looks for rows reads the list of rows in each shard.
"""

import hashlib
import json
import os
import resource
import weakref
import zlib
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from stages.core.cache import FolderCache, hash_key
from stages.model.partition import FrozenEncoder
from stages.text.batches import TokenRows

FILE = "features.safetensors"
DTYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
NAME_DIGITS = 16  # of each of the three hashes in a shard's name
KEY_BYTES = 16
ROW_BYTES = KEY_BYTES + 4 + 4  # in a shard, besides the features: key, positions and checksum
FILES_OPEN = 256  # that the rest of the process may need besides the shards
# What opening and checking a broken shard raises.
BROKEN = (OSError, SafetensorError, ValueError, TypeError, IndexError)


class Shard:
    """R rows that were stored in one piece. Its file stays open, so that it can be read when it was deleted.

    The file has `hidden`, `(P, D)`, all rows' features one after another, and for each row `positions` (int32), its
    part of P, `rows` (uint8, `(R, 16)`), its key, and `checksums` (uint32), CRC-32 of key and features: to use few rows
    of a large shard, only these are read and checked. CRC-32 finds what a disk changes, and is the fastest one at hand.
    """

    def __init__(self, folder: Path, width: int, dtype: torch.dtype):
        """Open a shard of features of D = `width` values; an error of `BROKEN` when it is not one."""
        self.folder, self.position_bytes = folder, width * dtype.itemsize
        self.file = os.open(folder / FILE, os.O_RDONLY)
        weakref.finalize(self, os.close, self.file)
        with safe_open(folder / FILE, "numpy") as file:
            rows, positions, self.checksums = (file.get_tensor(name) for name in ("rows", "positions", "checksums"))
            hidden = file.get_slice("hidden")
        self.positions = positions.astype(np.int64)
        shapes = hidden.get_shape(), rows.shape, positions.shape, self.checksums.shape
        count = len(rows)
        if shapes != ([self.positions.sum(), width], (count, KEY_BYTES), (count,), (count,)):
            raise ValueError(f"its tensors have the shapes {shapes}")
        if hidden.get_dtype() != DTYPE_NAMES[dtype]:
            raise ValueError(f"its features are {hidden.get_dtype()}")
        self.keys = rows.view(f"S{KEY_BYTES}").ravel()
        self.order = np.argsort(self.keys)
        start = 8 + int.from_bytes(os.pread(self.file, 8, 0), "little")  # the length of the header is before it
        self.offsets = start + (np.cumsum(self.positions) - self.positions) * self.position_bytes

    def match(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of the keys, `(N,)`, the shard has: their numbers in `keys`, and the numbers of their rows in it."""
        numbers = self.order[np.searchsorted(self.keys, keys, sorter=self.order).clip(max=len(self.order) - 1)]
        found = np.flatnonzero(self.keys[numbers] == keys)
        return found, numbers[found]

    def check(self, numbers: np.ndarray) -> None:
        """Read rows, and compare them with their checksums; an error of `BROKEN` when they differ."""
        values = memoryview(bytearray(int(self.positions[numbers].max()) * self.position_bytes))
        for number in np.unique(numbers):
            row = values[: self.positions[number] * self.position_bytes]
            size = os.preadv(self.file, [row], self.offsets[number])
            if size != len(row) or make_checksum(self.keys[number : number + 1], row) != self.checksums[number]:
                raise ValueError("bytes have changed since they were written")


class StoredRows:
    """Where the features of a split's N rows are on disk, as far as they were found."""

    def __init__(self, keys: np.ndarray, positions: np.ndarray, width: int, dtype: torch.dtype):
        """Keys of the rows, `(N,)`; positions that each row has, `(N,)`; features have D = `width` values."""
        self.keys, self.positions = keys, positions
        self.width, self.dtype, self.position_bytes = width, dtype, width * dtype.itemsize
        self.files = np.full(len(keys), -1)  # descriptors; -1: not found
        self.offsets = np.zeros(len(keys), dtype=np.int64)  # in bytes
        self.shards: list[Shard] = []  # whose files stay open as long as this object exists

    def add(self, rows: np.ndarray, shard: Shard, numbers: np.ndarray) -> None:
        """Record that a shard has these rows under these numbers."""
        self.files[rows], self.offsets[rows] = shard.file, shard.offsets[numbers]
        self.shards.append(shard)

    def find_missing(self) -> np.ndarray:
        """Numbers of the rows that were not found, ascending; of rows with equal tokens, the first."""
        missing = np.flatnonzero(self.files < 0)
        return np.sort(missing[np.unique(self.keys[missing], return_index=True)[1]])

    def read(self, rows: np.ndarray, width: int) -> torch.Tensor:
        """Features of B rows, `(B, width, D)`, with zeros where a row has no more positions."""
        features = torch.empty(len(rows), width, self.width, dtype=self.dtype)
        for row, values in zip(rows, features.view(torch.uint8).numpy().reshape(len(rows), -1), strict=True):
            size = self.positions[row] * self.position_bytes
            self.read_row(row, values[:size])
            values[size:] = 0
        return features

    def read_row(self, row: int, wanted: np.ndarray) -> None:
        """Fill an array of bytes with a row's features."""
        if os.preadv(self.files[row], [wanted.data], self.offsets[row]) != len(wanted):
            raise OSError("cached features of the frozen layers were truncated while they were in use")


class FeatureStore:
    """The shards of one model's frozen layers, at each depth, in a cache that other models share."""

    def __init__(self, frozen: FrozenEncoder, cache: FolderCache):
        self.frozen, self.cache = frozen, cache
        self.group = hash_key(frozen.key_at(0))[:NAME_DIGITS]  # the same for all depths
        self.opened: dict[Path, Shard] = {}
        self.broken: set[Path] = set()

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes from looking for features of this model, and from computing the same ones."""
        return self.cache.lock(self.group)

    def make_prefix(self, depth: int) -> str:
        """The beginning of the names of all shards with outputs of the first `depth` layers."""
        return f"{self.group}-{hash_key(self.frozen.key_at(depth))[:NAME_DIGITS]}-"

    def find(self, stored: StoredRows, rows: np.ndarray, depth: int) -> None:
        """Find those of the split's `rows` that were not found yet, as outputs of the first `depth` layers.

        Shards in which they are found count as used. Broken ones are deleted.
        """
        for shard in self.open_shards(depth):
            rows = rows[stored.files[rows] < 0]
            found, numbers = shard.match(stored.keys[rows])
            if len(found) == 0:
                continue
            try:
                if (shard.positions[numbers] != stored.positions[rows[found]]).any():
                    raise ValueError("rows have another length than when they were written")
                shard.check(numbers)
            except BROKEN as error:
                self.discard(shard.folder, error)
                continue
            stored.add(rows[found], shard, numbers)
            self.cache.mark_used(shard.folder, needed=depth == self.frozen.depth)

    def open_shards(self, depth: int) -> list[Shard]:
        """All shards of a depth that can be opened; the others are deleted."""
        folders = [folder for folder in self.cache.find(self.make_prefix(depth)) if folder not in self.broken]
        allow_open_files(len(self.opened) + len(folders) + FILES_OPEN)
        for folder in folders:
            if folder not in self.opened:
                try:
                    self.opened[folder] = Shard(folder, self.frozen.width, self.frozen.dtype)
                except BROKEN as error:
                    if folder.exists():  # else another process deleted it at this moment
                        self.discard(folder, error)
        return [self.opened[folder] for folder in folders if folder in self.opened]

    def discard(self, folder: Path, error: Exception) -> None:
        print(f"cached features in {folder} are broken ({error}); their rows are computed again")
        self.opened.pop(folder, None)
        self.broken.add(folder)  # if it cannot be deleted, it is not tried again
        self.cache.remove(folder)

    def write(self, stored: StoredRows, rows: np.ndarray, values: Iterable[torch.Tensor]) -> None:
        """Store features of the split's `rows` as a new shard; `values` are those of one or more rows each, `(P, D)`.

        OSError, such as NoRoom, when that is not possible.
        """
        keys, positions = stored.keys[rows], stored.positions[rows].astype(np.int32)
        name = self.make_prefix(self.frozen.depth) + hashlib.sha256(keys.tobytes()).hexdigest()[:NAME_DIGITS]
        header = make_header(positions, stored.width, stored.dtype)
        size = len(header) + int(positions.sum()) * stored.position_bytes + len(rows) * ROW_BYTES
        key = self.frozen.key_at(self.frozen.depth)
        model = f"{key['config']['model_type']}-{self.frozen.width}-{self.frozen.weights[0][:8]}"  # for people
        manifest = {"rows": len(rows), "model": model, "key": key}
        with self.cache.add(name, size, manifest) as folder, (folder / FILE).open("wb") as file:
            file.write(header)
            checksums: list[int] = []
            for part in values:
                data, start = part.view(torch.uint8).numpy().ravel().data, 0
                file.write(data)
                while start < len(data):
                    number = len(checksums)
                    end = start + int(positions[number]) * stored.position_bytes
                    checksums.append(make_checksum(keys[number : number + 1], data[start:end]))
                    start = end
            for array in (positions, np.array(checksums, dtype=np.uint32), keys):
                file.write(array.tobytes())
        self.broken.discard(self.cache.folder / name)


def hash_rows(rows: TokenRows) -> np.ndarray:
    """The keys of a split's rows, `(N,)`, 16 bytes each: hashes of width and tokens; features do not depend on labels.

    The width that a row is padded to decides the last bits of its features. `preprocess.max_length` can limit it. All
    columns of a row have the same length, so that names, length and tokens follow from what is hashed.
    """
    names = sorted(rows.tokens)
    columns = [np.ascontiguousarray(rows.tokens[name], dtype=np.int32).data for name in names]
    beginning = hashlib.blake2b(json.dumps(names).encode(), digest_size=KEY_BYTES)
    keys = bytearray()
    for start, end, width in zip(rows.starts[:-1], rows.starts[1:], rows.widths, strict=True):
        digest = beginning.copy()
        digest.update(int(width).to_bytes(8, "little"))
        for column in columns:
            digest.update(column[start:end])
        keys += digest.digest()
    return np.frombuffer(keys, dtype=f"S{KEY_BYTES}")


def make_checksum(key: np.ndarray, values: memoryview) -> int:
    """CRC-32 of a row's key, an array of one, and its features."""
    return zlib.crc32(values, zlib.crc32(key.tobytes()))


def make_header(positions: np.ndarray, width: int, dtype: torch.dtype) -> bytes:
    """The header of a shard, a safetensors file whose values can then be written row by row."""
    count = len(positions)
    tensors, end = {}, 0
    for name, type_name, shape, itemsize in (
        ("hidden", DTYPE_NAMES[dtype], [int(positions.sum()), width], dtype.itemsize),
        ("positions", "I32", [count], 4),
        ("checksums", "U32", [count], 4),
        ("rows", "U8", [count, KEY_BYTES], 1),
    ):
        start, end = end, end + int(np.prod(shape)) * itemsize
        tensors[name] = {"dtype": type_name, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(tensors)
    text += " " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text.encode()


def allow_open_files(count: int) -> None:
    """Let the process open so many files, where the system allows it: each shard that is in use is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
