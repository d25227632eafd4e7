"""Runs a stage's main(): measures it, and turns faults of the user into one message."""

import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import psutil
from safetensors import SafetensorError

from stages.core.errors import Terminated, UserError, printable, refusal
from stages.core.files import read_json, write_json
from stages.core.paths import TIMINGS

STAGES = ("download", "base_model", "preprocess", "train", "evaluate")  # of dvc.yaml, in their order


def run_stage(name: str, main: Callable[[], dict[str, float] | None]) -> None:
    """Run `main` as the process's only work and write `metrics/timings/<name>.json`.

    What `main` returns (such as samples a second) is added to the file. Seconds count from the start of the process,
    so imports are in them.
    """
    with telling_faults(f"stage {name}"):
        extra = main() or {}
        write_json(TIMINGS / f"{name}.json", measures(name) | {f"{name}_{key}": value for key, value in extra.items()})


@contextmanager
def telling_faults(what: str) -> Iterator[None]:
    """End the process with code 1 and one message on `UserError` or a refusal of the machine.

    On Ctrl-C the code is 130, on SIGTERM 143.
    """
    signal.signal(signal.SIGTERM, terminate)
    sys.stdout.reconfigure(line_buffering=True)  # in step with the progress bars on stderr, also through a pipe
    try:
        yield
    except UserError as error:
        sys.exit(f"\nerror in {what}: {printable(str(error))}")
    except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
        reason = refusal(error)
        if reason is None:
            raise  # a fault of ours
        sys.exit(f"\nerror in {what}: {printable(reason)}")
    except KeyboardInterrupt as interrupt:
        print(f"\n{what} was interrupted; run it again", file=sys.stderr)
        sys.exit(143 if isinstance(interrupt, Terminated) else 130)


def terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def measures(name: str) -> dict[str, float]:
    """`<name>_seconds` since the process started, and peak memory in MiB (of the GPU too, where one was used)."""
    # ru_maxrss is in KiB on Linux and in bytes on macOS (getrusage(2) of each).
    unit = 1 if sys.platform == "darwin" else 1024
    values = {
        f"{name}_seconds": round(time.time() - psutil.Process().create_time(), 2),
        f"{name}_peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        values[f"{name}_peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return values


def read_timings() -> dict[str, float]:
    """The timings of all stages that have written theirs, merged into one dict."""
    return {key: value for path in sorted(TIMINGS.glob("*.json")) for key, value in read_json(path).items()}
