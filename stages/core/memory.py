"""How the process deals with memory."""

import ctypes
import sys

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Make glibc keep the memory of one batch for the next; elsewhere nothing happens.

    By default it gives large blocks back to the system, which then has to map and clear their pages for every batch
    anew: that took a quarter of the time that frozen layers run on a CPU. Blocks above 64 MiB still go back, since the
    holes that they leave would cost more memory than they save time.
    """
    call_glibc("mallopt", M_TRIM_THRESHOLD, 2**30)
    call_glibc("mallopt", M_MMAP_THRESHOLD, 2**26)


def release_freed_memory() -> None:
    """Give back what was kept, before work that needs other amounts."""
    call_glibc("malloc_trim", 0)


def call_glibc(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None  # musl has none either
    if function is not None:
        function(*arguments)
