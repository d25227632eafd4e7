"""Folders of files that are computed once, kept, and found again by what they were computed from."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from stages.core.errors import UserError
from stages.core.files import new_folder, read_json, remove_leftovers, sha256, write_json

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

    Several processes may share it: one of them makes an entry, while the others wait for it.
    """

    def __init__(self, folder: Path, max_bytes: int):
        self.folder = folder
        self.max_bytes = max_bytes

    def available_bytes(self) -> int:
        """Bytes that all entries together may take: `max_bytes` or, where the disk has less space, that."""
        self.folder.mkdir(parents=True, exist_ok=True)
        used = sum(entry.size for entry in self.list_entries())
        return min(self.max_bytes, used + shutil.disk_usage(self.folder).free)

    def fetch(self, key: dict[str, Any], size: int, make: Callable[[Path], None]) -> tuple[Path, bool]:
        """The folder of the entry for `key`, and whether it was in the cache.

        If it was not, `make(folder)` fills it with about `size` bytes. Keys are equal when their JSON is. An entry
        whose bytes have changed since it was made is made again. NoRoom when `size` bytes do not fit in.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hash_key(key)
        path = self.folder / name
        with hold_lock(FileLock(self.folder / f"{name}.lock")):
            found = is_complete(path)
            if not found:
                remove_leftovers(path, "part")  # before the free space is measured
                with self.reserve(name, size), new_folder(path) as part:
                    make(part)
                    write_manifest(part, key=key)
            os.utime(path / MANIFEST)  # the time of its last use
        return path, found

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
        self.remove_abandoned()
        entries = sorted(self.list_entries())
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
            shutil.rmtree(entry.folder, ignore_errors=True)
            used -= entry.size

    def remove_abandoned(self) -> None:
        """Remove what killed processes left: unfinished entries, and the room that was kept for them."""
        for left in [*self.folder.glob(".*.part"), *self.folder.glob(".*.old"), *self.folder.glob("*.reserved")]:
            name = left.name.strip(".").partition(".")[0]
            if not is_locked(self.folder / f"{name}.lock"):
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


def hash_key(key: dict[str, Any]) -> str:
    """The name of the folder for a key: 32 hex digits, the same for equal keys."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def hold_lock(lock: FileLock) -> Iterator[None]:
    """Wait for a lock and hold it; after a second of waiting, print why."""
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print("waiting for another process, which computes the same files")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock."""
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def write_manifest(folder: Path, **more: Any) -> None:
    """Write the list of a folder's files, without which the folder counts as incomplete."""
    files = {file.name: sha256(file) for file in sorted(folder.iterdir())}
    write_json(folder / MANIFEST, more | {"files": files})


def is_complete(path: Path) -> bool:
    """Whether all files of the manifest exist, with the SHA-256 that it gives: about a second for each GB."""
    try:
        files = read_json(path / MANIFEST)["files"]
        return all(sha256(path / name) == checksum for name, checksum in files.items())
    except (UserError, OSError, KeyError, TypeError, AttributeError):
        return False
