"""Checkpoints of a training, found again by what it started from; only whole ones count.

They lie in `checkpoints` of the cache folder, outside of DVC's outputs, which DVC deletes before a stage runs. `train`
says when it has finished, and `evaluate`, which DVC runs once it has recorded that, removes them.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

from stages.core.cache import MANIFEST, hash_key, hold_lock
from stages.core.errors import UserError
from stages.core.files import cache_dir, read_json, sha256_of_all, write_json
from stages.core.hardware import describe_processor

KEPT_DAYS = 30  # since the last use, of trainings that were never finished
FINISHED = "finished.json"


@contextmanager
def open_checkpoints(inputs: dict[str, Any]) -> Iterator[Path]:
    """The folder for checkpoints of the training that `inputs` decide. A second process with the same inputs waits.

    Those of trainings that were finished or forgotten go.
    """
    root = cache_dir() / "checkpoints"
    folder = root / hash_key(inputs)
    folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(FileLock(f"{folder}.lock")):
        (folder / FINISHED).unlink(missing_ok=True)
        write_json(folder / "inputs.json", inputs)
        remove_unused(lambda other: days_since_use(other) > (1 if finished_run(other) else KEPT_DAYS))
        yield folder


def mark_finished(folder: Path, run: str) -> None:
    """Say that a run's training has all its results; its checkpoints stay for DVC to record these, at most a day."""
    with suppress(OSError):  # a full disk; then they stay longer
        write_json(folder / FINISHED, {"run": run})


def remove_finished(run: str) -> None:
    """Remove the checkpoints of a run whose results were recorded."""
    remove_unused(lambda folder: finished_run(folder) == run)


def remove_unused(unwanted: Callable[[Path], Any]) -> None:
    """Remove the folders of checkpoints that are unwanted, unless a process uses them (Timeout is an OSError)."""
    for folder in (cache_dir() / "checkpoints").glob("*/"):
        with suppress(OSError), FileLock(f"{folder}.lock", timeout=0):
            if unwanted(folder):
                shutil.rmtree(folder)


def finished_run(folder: Path) -> str | None:
    """The run of a finished training."""
    with suppress(UserError):
        return read_json(folder / FINISHED, ["run"])["run"]


def days_since_use(folder: Path) -> float:
    return (time.time() - folder.stat().st_mtime) / 86400


def make_training_key(params: dict[str, Any], files: list[Path]) -> dict[str, Any]:
    """All that decides the bytes of a training's result: params, files, code, versions and hardware."""
    folder = Path(__file__).parent.parent
    loaded = {Path(module.__file__) for module in sys.modules.values() if getattr(module, "__file__", None)}
    return {
        "params": params,
        "files": sha256_of_all(files),
        "code": sha256_of_all(sorted(file for file in loaded if folder in file.parents)),
        "versions": {name: version(name) for name in ("accelerate", "numpy", "torch", "transformers")},
        "device": describe_processor(),
    }


def latest(folder: Path) -> Path | None:
    """The last whole checkpoint whose best one is whole too; what is left of others is removed."""
    found = sorted(folder.glob("checkpoint-*"), key=get_step, reverse=True)
    whole = {checkpoint.name: best for checkpoint in found if (best := read_best(checkpoint))}
    for checkpoint in found:
        if checkpoint.name not in whole:
            shutil.rmtree(checkpoint)
    return next((folder / name for name, best in whole.items() if best in whole), None)


def read_best(checkpoint: Path) -> str | None:
    """The best checkpoint when this one was written; None when this one is not as it was then."""
    try:
        manifest = read_json(checkpoint / MANIFEST, ["best", "sha256"])
    except UserError:
        return None
    return manifest["best"] if manifest["sha256"] == checksum(checkpoint) else None


def checksum(checkpoint: Path) -> str:
    return sha256_of_all(sorted(file for file in checkpoint.iterdir() if file.name != MANIFEST))


def get_step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


@contextmanager
def writing(checkpoint: Path) -> Iterator[None]:
    """From now on the checkpoint is not whole; it goes when it cannot be written, so as not to fill a disk."""
    (checkpoint / MANIFEST).unlink(missing_ok=True)
    try:
        yield
    except Exception:
        shutil.rmtree(checkpoint, ignore_errors=True)
        raise


def finish(checkpoint: Path, best: str | None) -> None:
    """Say that a checkpoint is whole; then remove all others but the best one."""
    best = Path(best or checkpoint).name
    write_json(checkpoint / MANIFEST, {"best": best, "sha256": checksum(checkpoint)})
    for other in checkpoint.parent.glob("checkpoint-*"):
        if other.name not in (checkpoint.name, best):
            shutil.rmtree(other)
