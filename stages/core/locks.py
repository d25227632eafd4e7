"""Locks of files, by which processes wait for each other, also those of other machines that share the files."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

from filelock import FileLock, Timeout

SECONDS_BETWEEN_POLLS = 0.1


@contextmanager
def hold_lock(lock: FileLock, reason: str = "another process, which computes the same files") -> Iterator[None]:
    """Wait for a lock and hold it; after a second of waiting, print why."""
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print(f"waiting for {reason}", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def acquire_some(locks: Sequence[FileLock], wanted: int, reason: str) -> list[FileLock]:
    """Acquire so many of the locks as they become free, and return them in this order; before it waits, print why."""
    held: list[FileLock] = []
    for attempt in count():
        held += islice((lock for lock in locks if not lock.is_locked and try_to_acquire(lock)), wanted - len(held))
        if len(held) == wanted:
            break
        if attempt == 0:
            print(f"waiting for {reason}", flush=True)
        time.sleep(SECONDS_BETWEEN_POLLS)
    return [lock for lock in locks if lock in held]


def try_to_acquire(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock."""
    lock = FileLock(path)
    if not try_to_acquire(lock):
        return True
    lock.release()
    return False
