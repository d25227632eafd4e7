"""How the process keeps and releases memory."""

import atexit
import ctypes
import gc
import os
import re
import resource
import sys
from pathlib import Path

# From malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KERNELS = 64  # no step of a training was slower than with 1,024; with 16, a step took 8 ms longer


def keep_freed_memory() -> None:
    """Make glibc keep the memory of one batch for the next; without glibc nothing happens.

    By default it returns large blocks to the system, which has to map and clear their pages again for every batch:
    that took a quarter of the time that frozen layers run on a CPU. Blocks above 64 MiB are still returned, since
    keeping them would fragment the memory.
    """
    call_glibc("mallopt", M_TRIM_THRESHOLD, 2**30)
    call_glibc("mallopt", M_MMAP_THRESHOLD, 2**26)


def keep_few_kernels() -> None:
    """Limit the kernels that oneDNN compiles for shapes of batches and keeps; to be called before the first product.

    It keeps 1,024 by default, and torch keeps as many on top: about 4 MiB for each width of batches.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))
    os.environ.setdefault("LRU_CACHE_CAPACITY", str(KERNELS))


def release_freed_memory() -> None:
    """Return to the system what `keep_freed_memory` kept, before work that needs blocks of other sizes."""
    call_glibc("malloc_trim", 0)


def call_glibc(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None  # musl does not have them
    if function is not None:
        function(*arguments)


def measure_peak_memory() -> int:
    """The largest number of bytes that the process has had in memory."""
    status = Path("/proc/self/status")  # of Linux; some containers have no VmHWM in it
    found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE) if status.exists() else None
    if found:
        return int(found[1]) * 1024
    # On Linux this begins with the size of the process that started this one; it is in KiB there, on macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def skip_last_collection() -> None:
    """Leave all objects to the operating system when the process ends, which saves two seconds.

    Python would search the millions of objects of torch and transformers for garbage. Only for processes that end with
    nothing open: a database is closed properly when its objects are collected.
    """
    atexit.register(gc.freeze)


def spare_imported_objects() -> None:
    """Take the objects that exist now, which are those of the imports, out of all later searches for garbage.

    The one that a training asks for took 0.38 s, most of it in 490,000 objects of torch and transformers; now 0.01 s.
    """
    gc.freeze()
