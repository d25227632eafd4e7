"""Folders of files that are computed once, kept, and found again by what they were computed from."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from stages.core.errors import UserError
from stages.core.files import new_folder, read_json, remove_leftovers, write_json

MANIFEST = "manifest.json"


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

        If it was not, `make(folder)` fills it with about `size` bytes. Keys are equal when their JSON is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hash_key(key)
        path = self.folder / name
        with hold_lock(FileLock(self.folder / f"{name}.lock")):
            found = is_complete(path)
            if not found:
                remove_leftovers(path, "part")  # before the free space is measured
                self.make_room(size)
                with new_folder(path) as part:
                    make(part)
                    write_manifest(part, key=key)
            os.utime(path / MANIFEST)  # the time of its last use
        return path, found

    def make_room(self, size: int) -> None:
        """Delete the least recently used entries, until there is room for `size` bytes more."""
        with FileLock(self.folder / ".lock"):
            entries = sorted(self.list_entries())
            available = self.available_bytes()
            used = sum(entry.size for entry in entries)
            for entry in entries:
                if used + size <= available:
                    break
                shutil.rmtree(entry.folder, ignore_errors=True)
                used -= entry.size

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


def write_manifest(folder: Path, **more: Any) -> None:
    """Write the list of a folder's files, without which the folder counts as incomplete."""
    files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    write_json(folder / MANIFEST, more | {"files": files})


def is_complete(path: Path) -> bool:
    """Whether all files of the manifest exist, with the sizes that it gives."""
    try:
        files = read_json(path / MANIFEST)["files"]
        return all((path / name).stat().st_size == size for name, size in files.items())
    except (UserError, OSError, KeyError, TypeError):
        return False
