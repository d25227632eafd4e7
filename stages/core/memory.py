"""How the process keeps and releases memory."""

import atexit
import ctypes
import gc
import sys

# From malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Make glibc keep the memory of one batch for the next; without glibc nothing happens.

    By default it returns large blocks to the system, which has to map and clear their pages again for every batch:
    that took a quarter of the time that frozen layers run on a CPU. Blocks above 64 MiB are still returned, since
    keeping them would fragment the memory.
    """
    call_glibc("mallopt", M_TRIM_THRESHOLD, 2**30)
    call_glibc("mallopt", M_MMAP_THRESHOLD, 2**26)


def release_freed_memory() -> None:
    """Return to the system what `keep_freed_memory` kept, before work that needs blocks of other sizes."""
    call_glibc("malloc_trim", 0)


def call_glibc(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None  # musl does not have them
    if function is not None:
        function(*arguments)


def skip_last_collection() -> None:
    """Leave all objects to the operating system when the process ends, which saves two seconds.

    Python would search the millions of objects of torch and transformers for garbage. Only for processes that end with
    nothing open: a database is closed properly when its objects are collected.
    """
    atexit.register(gc.freeze)
