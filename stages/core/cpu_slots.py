"""CPU cores, reserved by experiments that run at the same time on one machine."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil
import torch
from filelock import FileLock, Timeout

from stages.core.files import cache_dir
from stages.core.hardware import name_machine

SECONDS_BETWEEN_POLLS = 0.1
kept: list[ExitStack] = []  # cores for all ranks of this host, held by one of them until it ends


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
    with ExitStack() as reserved:
        acquire_cores(1, reserved)
        yield


def keep_cores(processes: int) -> None:
    """Reserve the cores for so many processes like this one, until it ends; then `reserve_cores` does nothing."""
    kept.append(ExitStack())
    if processes > 0:
        acquire_cores(processes, kept[-1])


def acquire_cores(processes: int, held: ExitStack) -> None:
    folder = cache_dir() / "cores" / name_machine()
    folder.mkdir(parents=True, exist_ok=True)
    locks = [FileLock(folder / f"{core}.lock") for core in range(count_cores())]
    wanted = min(processes * torch.get_num_threads(), len(locks))
    # One process at a time: two that each hold half of the cores would wait for each other forever.
    with FileLock(folder / "queue.lock"):
        acquire_locks(wanted, locks, held)


def acquire_locks(wanted: int, locks: list[FileLock], held: ExitStack) -> None:
    """Acquire `wanted` of the locks, as they become free; `held` releases them."""
    locks = locks.copy()
    has_printed = False
    while True:
        for lock in locks.copy():
            if not wanted:
                return
            try:
                held.enter_context(lock.acquire(timeout=0))
            except Timeout:
                continue
            locks.remove(lock)
            wanted -= 1
        if not wanted:
            return
        if not has_printed:
            print("waiting for CPU cores: another experiment uses them")
            has_printed = True
        time.sleep(SECONDS_BETWEEN_POLLS)


def count_cores() -> int:
    """Physical cores that this process may use: two threads of one core compute no faster than one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, psutil.cpu_count(logical=False) or allowed)
