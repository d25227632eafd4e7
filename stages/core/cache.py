"""Folders of files that are computed once, kept, and found again by what they were computed from."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from stages.core.errors import UserError
from stages.core.files import cache_dir, new_folder, read_json, write_json
from stages.core.locks import hold_lock, is_locked

MANIFEST = "manifest.json"


class NoRoom(OSError):
    """The cache has no room for an entry, even without all others."""


class Entry(NamedTuple):
    """A folder of the cache; the oldest sort first."""

    last_used: float  # seconds since 1970
    size: int  # bytes
    folder: Path


class FolderCache:
    """A folder of entries, at most `max_bytes` in all; for a new one, the least recently used entries are deleted.

    An entry is a folder, which appears complete or not at all. Its name starts with its group and a dash. Several
    processes may share the cache: who looks for entries of a group and adds what is missing holds the group's lock.
    """

    def __init__(self, folder: Path, max_bytes: int):
        self.folder = folder
        self.max_bytes = max_bytes
        self.needed: set[Path] = set()  # entries that this process uses, which it deletes last

    def available_bytes(self) -> int:
        """Bytes that all entries together may take: `max_bytes` or, where the disk has less space, that."""
        self.folder.mkdir(parents=True, exist_ok=True)
        used = sum(entry.size for entry in self.list_entries())
        return min(self.max_bytes, used + shutil.disk_usage(self.folder).free)

    @contextmanager
    def lock(self, group: str) -> Iterator[None]:
        """Hold the lock of a group; another process that wants it waits."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with hold_lock(FileLock(self.folder / f"{group}.lock")):
            self.remove_leftovers(lambda other: other == group)  # before the free space is measured
            yield

    def find(self, prefix: str) -> list[Path]:
        """The folders of the entries whose names start with `prefix`, in the order of their names."""
        return sorted(manifest.parent for manifest in self.folder.glob(f"{prefix}*/{MANIFEST}"))

    @contextmanager
    def add(self, name: str, size: int, manifest: dict[str, Any]) -> Iterator[Path]:
        """Yield a folder for an entry with files of `size` bytes, which appears when the block ends without an error.

        The process holds the lock of its group. NoRoom when `size` bytes do not fit in.
        """
        path = self.folder / name
        size += len(json.dumps(manifest, indent=2)) + 1
        with self.reserve(name, size), new_folder(path) as part:
            yield part
            write_json(part / MANIFEST, manifest)
        self.mark_used(path, needed=True)

    def mark_used(self, folder: Path, needed: bool) -> None:
        """Count an entry as used now. If it is `needed`, this process deletes all others before it."""
        if needed:
            self.needed.add(folder)
        with suppress(FileNotFoundError):  # another process deleted it at this moment
            os.utime(folder / MANIFEST)

    def remove(self, folder: Path) -> None:
        """Delete an entry if possible; it disappears in one step, so that a kill leaves no half of it."""
        left = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.old")
        with suppress(OSError):
            folder.rename(left)
            shutil.rmtree(left, ignore_errors=True)

    def clear(self) -> None:
        """Delete all entries, where possible, and what killed processes left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            self.remove_leftovers(self.is_abandoned)
            for entry in self.list_entries():
                self.remove(entry.folder)

    @contextmanager
    def reserve(self, name: str, size: int) -> Iterator[None]:
        """Delete the least recently used entries until there is room for `size` bytes, and keep it for the block.

        Other processes then count these bytes as used, before they are written.
        """
        reservation = self.folder / f"{name}.reserved"
        with FileLock(self.folder / ".lock"):
            self.make_room(size)
            write_json(reservation, size)
        try:
            yield
        finally:
            reservation.unlink(missing_ok=True)

    def make_room(self, size: int) -> None:
        self.remove_leftovers(self.is_abandoned)
        entries = sorted(self.list_entries(), key=lambda entry: (entry.folder in self.needed, entry))
        used = sum(entry.size for entry in entries)
        reserved, written = self.count_reserved()
        free = shutil.disk_usage(self.folder).free + written
        available = min(self.max_bytes, used + free) - reserved
        if size > available:
            room = f"room for {max(available, 0) / 1e9:.3g}, as other processes write {reserved / 1e9:.3g}"
            raise NoRoom(errno.ENOSPC, f"{size / 1e9:.3g} GB are needed, and there is {room}")
        for entry in entries:
            if used + size <= available:
                break
            self.remove(entry.folder)
            used -= entry.size

    def is_abandoned(self, group: str) -> bool:
        """Whether no process looks for entries of a group or adds some."""
        return not is_locked(self.folder / f"{group}.lock")

    def remove_leftovers(self, is_abandoned: Callable[[str], bool]) -> None:
        """Remove what killed processes left: unfinished entries of abandoned groups, and the room kept for them."""
        for left in [*self.folder.glob(".*.part"), *self.folder.glob(".*.old"), *self.folder.glob("*.reserved")]:
            group = left.name.strip(".").partition(".")[0].partition("-")[0]
            if is_abandoned(group):
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)

    def count_reserved(self) -> tuple[int, int]:
        """Bytes for which processes keep room while they write, and how many of them are written."""
        reserved = written = 0
        for reservation in self.folder.glob("*.reserved"):
            with suppress(UserError, TypeError, FileNotFoundError):  # finished at this moment
                reserved += read_json(reservation)
                parts = self.folder.glob(f".{reservation.stem}.*.part")
                written += sum(file.stat().st_size for part in parts for file in part.iterdir())
        return reserved, written

    def list_entries(self) -> list[Entry]:
        """All entries, in no order."""
        entries = []
        for manifest in self.folder.glob(f"[!.]*/{MANIFEST}"):
            try:
                size = sum(file.stat().st_size for file in manifest.parent.iterdir())
                entries.append(Entry(manifest.stat().st_mtime, size, manifest.parent))
            except FileNotFoundError:  # another process is deleting it
                continue
        return entries


def open_feature_cache(max_size_gb: float) -> FolderCache:
    """The cache of the features of frozen layers: `frozen` in the cache folder."""
    return FolderCache(cache_dir() / "frozen", int(max_size_gb * 1e9))


def hash_key(key: dict[str, Any]) -> str:
    """A name for a key: 32 hex digits, the same for keys whose JSON is equal."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
