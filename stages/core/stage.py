"""Run the `main()` of a stage or command: measure it, and report errors of the user in one message."""

import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import psutil
from safetensors import SafetensorError

from stages.core.errors import Terminated, UserError, describe_system_error, to_printable
from stages.core.files import read_json, write_json
from stages.core.memory import measure_peak_memory, skip_last_collection, spare_imported_objects
from stages.core.parent import stop_when_starter_is_gone
from stages.core.paths import TIMINGS

MANY_RANKS = ("train",)  # what a launcher such as torchrun may start as several processes
STAGES = ("download", "base_model", "preprocess", "train", "evaluate")  # of dvc.yaml, in their order


def run_stage(name: str, main: Callable[[], dict[str, float] | None]) -> None:
    """Run `main` as the process's only work and write `metrics/timings/<name>.json`.

    Seconds count from the start of the process, so imports are in them. What `main` returns (such as samples a second)
    is added to the file, and replaces what has the same key.
    """
    with report_errors(f"stage {name}"):
        skip_last_collection()
        spare_imported_objects()
        stop_when_starter_is_gone()
        require_one_process(name)
        extra = main() or {}
        if os.environ.get("RANK", "0") == "0":
            write_json(TIMINGS / f"{name}.json", measure_process(name) | extra)


def require_one_process(name: str) -> None:
    """UserError when a launcher started several processes of what has to be one."""
    if os.environ.get("WORLD_SIZE", "1") != "1" and name not in MANY_RANKS:
        raise UserError("it runs in one process; a launcher such as torchrun may start several of train alone.")


@contextmanager
def report_errors(what: str) -> Iterator[None]:
    """End the process with exit code 1 and one message after a `UserError` or an error of the operating system.

    After Ctrl-C the exit code is 130, after SIGTERM 143. Other errors are defects, and keep their traceback.
    """
    signal.signal(signal.SIGTERM, raise_terminated)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Lines then appear in their order between the progress bars of stderr, also when the output is not a terminal.
        sys.stdout.reconfigure(line_buffering=True)
    try:
        yield
    except UserError as error:
        sys.exit(f"\nerror in {what}: {to_printable(str(error))}")
    except (OSError, RuntimeError, MemoryError, SafetensorError) as error:
        reason = describe_system_error(error)
        if reason is None:
            raise
        sys.exit(f"\nerror in {what}: {to_printable(reason)}")
    except KeyboardInterrupt as interrupt:
        print(f"\n{what} was interrupted; run it again", file=sys.stderr)
        sys.exit(143 if isinstance(interrupt, Terminated) else 130)


def raise_terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated


def measure_process(name: str) -> dict[str, float]:
    """`<name>_seconds` since the process started, and its peak memory in MiB (also of the GPU, where one was used)."""
    values = {
        f"{name}_seconds": round(time.time() - psutil.Process().create_time(), 2),
        f"{name}_peak_memory_mb": round(measure_peak_memory() / 2**20, 1),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        values[f"{name}_peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return values


def read_timings() -> dict[str, float]:
    """The timings that stages have written, merged into one dict."""
    return {key: value for path in sorted(TIMINGS.glob("*.json")) for key, value in read_json(path).items()}
