"""CPU cores, reserved by experiments that run at the same time on one machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch
from filelock import FileLock

from stages.core.files import cache_dir
from stages.core.hardware import name_machine
from stages.core.locks import acquire_some

kept: list[list[FileLock]] = []  # cores for all ranks of this host, held by one of them until it ends


@contextmanager
def reserve_cores() -> Iterator[None]:
    """Wait until there is a free core for each of torch's threads, and reserve these cores.

    The number of threads is never changed, since the bytes of trained weights depend on it. By default each experiment
    therefore trains alone, on all cores, while others load, save and import; with `OMP_NUM_THREADS=2` on eight cores,
    four of them train at the same time. With a GPU there is no waiting.
    """
    if torch.cuda.is_available() or kept:
        yield
        return
    cores = acquire_cores(1)
    try:
        yield
    finally:
        for core in cores:
            core.release()


def keep_cores(processes: int) -> None:
    """Reserve the cores for so many processes like this one, until it ends; then `reserve_cores` does nothing."""
    kept.append(acquire_cores(processes) if processes > 0 else [])


def acquire_cores(processes: int) -> list[FileLock]:
    folder = cache_dir() / "cores" / name_machine()
    folder.mkdir(parents=True, exist_ok=True)
    locks = [FileLock(folder / f"{core}.lock") for core in range(count_cores())]
    wanted = min(processes * torch.get_num_threads(), len(locks))
    # One process at a time: two that each hold half of the cores would wait for each other forever.
    with FileLock(folder / "queue.lock"):
        return acquire_some(locks, wanted, "CPU cores: another experiment uses them")


def count_cores() -> int:
    """Physical cores that this process may use: two threads of one core compute no faster than one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, psutil.cpu_count(logical=False) or allowed)
