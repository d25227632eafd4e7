"""Experiments that run at once on one machine share out its cores."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import torch
from filelock import FileLock, Timeout

from stages.core.files import cache_dir

SECONDS_BETWEEN_LOOKS = 0.1


@contextmanager
def own_cores() -> Iterator[None]:
    """Wait until as many cores are free as this process has threads that compute, and hold them.

    The number of threads stays what it is, since the bytes of trained weights depend on it: by default each
    experiment computes alone, on all cores, while others load, save and import; with `OMP_NUM_THREADS=2` on eight
    cores, four of them compute at once. Nothing is waited for with a GPU.
    """
    if torch.cuda.is_available():
        yield
        return
    folder, wanted = cache_dir() / "cores", min(torch.get_num_threads(), cores())
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with FileLock(folder / "queue.lock"):  # one after the other, so that two never wait for each other's cores
            take(wanted, [FileLock(folder / f"{core}.lock") for core in range(cores())], held)
        yield


def take(wanted: int, free: list[FileLock], held: ExitStack) -> None:
    told = False
    while True:
        for lock in free.copy():
            if not wanted:
                return
            try:
                held.enter_context(lock.acquire(timeout=0))
            except Timeout:
                continue
            free.remove(lock)
            wanted -= 1
        if not wanted:
            return
        if not told:
            print("waiting for cores: another experiment computes")
            told = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def cores() -> int:
    """Cores that this process may use; threads of one core count once."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed, psutil.cpu_count(logical=False) or allowed)
