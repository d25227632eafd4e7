"""Folders of files that are made once, kept, and found again by what they were made from."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stages.core.errors import UserError
from stages.core.files import new_folder, read_json, remove_left, write_json

MANIFEST = "manifest.json"


class Cache:
    """A folder of entries of at most `max_bytes`; where room is needed, those not used for longest go.

    Several processes may share it: each entry is made by one of them, while the others wait.
    """

    def __init__(self, folder: Path, max_bytes: int):
        self.folder, self.max_bytes = folder, max_bytes

    def room(self) -> int:
        """Bytes that entries may take: what is allowed or, where that is less, what the disk has for them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        taken = sum(size for _, size, _ in self.entries())
        return min(self.max_bytes, taken + shutil.disk_usage(self.folder).free)

    def fetch(self, key: dict[str, Any], size: int, make: Callable[[Path], None]) -> tuple[Path, bool]:
        """The folder of the entry for `key`, and whether it was there; else `make(folder)` fills it with `size` bytes.

        Names, values and bytes of the JSON of `key` identify the entry.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = name_of(key)
        path = self.folder / name
        with waiting_for(FileLock(self.folder / f"{name}.lock")):
            found = is_whole(path)
            if not found:
                remove_left(path, "part")  # before the room is measured
                self.make_room(size)
                with new_folder(path) as part:
                    make(part)
                    write_manifest(part, key=key)
            os.utime(path / MANIFEST)
        return path, found

    def make_room(self, size: int) -> None:
        """Remove the entries that were not used for longest, until `size` more bytes are allowed."""
        with FileLock(self.folder / ".lock"):
            entries, allowed = sorted(self.entries()), self.room()
            taken = sum(size for _, size, _ in entries)
            for _, freed, path in entries:
                if taken + size <= allowed:
                    break
                shutil.rmtree(path, ignore_errors=True)
                taken -= freed

    def entries(self) -> list[tuple[float, int, Path]]:
        """Time of last use, bytes and folder of every entry."""
        found = []
        for manifest in self.folder.glob(f"[!.]*/{MANIFEST}"):
            try:
                files = manifest.parent.iterdir()
                found.append((manifest.stat().st_mtime, sum(file.stat().st_size for file in files), manifest.parent))
            except FileNotFoundError:  # another process removes it
                continue
        return found


def name_of(key: dict[str, Any]) -> str:
    """The same for equal keys."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def waiting_for(lock: FileLock) -> Iterator[None]:
    """Hold a lock, and say so when that takes another process's time."""
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print("waiting for another process, which is making the same")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_manifest(folder: Path, **more: Any) -> None:
    """Write the list of a folder's files that makes it whole."""
    files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    write_json(folder / MANIFEST, more | {"files": files})


def is_whole(path: Path) -> bool:
    """Whether a folder's files are all there, with the sizes that its manifest says."""
    try:
        files = read_json(path / MANIFEST)["files"]
        return all((path / name).stat().st_size == size for name, size in files.items())
    except (UserError, OSError, KeyError, TypeError):
        return False
