"""Checkpoints of trainings: found again by the training's key, used only when they are complete.

They are in `checkpoints` of the cache folder, outside of DVC's outputs, which DVC deletes before a stage runs. `train`
marks them as finished; `evaluate`, which DVC runs after it has recorded the results of `train`, removes them.
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

from stages.core import ranks
from stages.core.cache import MANIFEST, hash_key
from stages.core.errors import UserError
from stages.core.files import cache_dir, read_json, sha256_of_all, write_json
from stages.core.hardware import describe_processor
from stages.core.locks import hold_lock

DAYS_UNFINISHED = 30  # since the last use, until the checkpoints of a training that was not finished are removed
DAYS_FINISHED = 1
FINISHED = "finished.json"


@contextmanager
def open_checkpoints(key: dict[str, Any]) -> Iterator[Path]:
    """The folder for checkpoints of the training with this key; a second training with the same key waits.

    Checkpoints of other trainings that were finished or not used for long are removed.
    """
    folder = cache_dir() / "checkpoints" / hash_key(key)
    with ranks.first_only(lambda: open_folder(folder, key)):
        yield folder


@contextmanager
def open_folder(folder: Path, key: dict[str, Any]) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with hold_lock(FileLock(f"{folder}.lock")):
        (folder / FINISHED).unlink(missing_ok=True)
        write_json(folder / "inputs.json", key)
        remove_folders(lambda other: days_since_use(other) > (DAYS_FINISHED if read_run(other) else DAYS_UNFINISHED))
        yield


def mark_finished(folder: Path, run: str) -> None:
    """Record that the training of a run has all its results.

    The checkpoints stay until `evaluate` removes them, at most a day: if DVC does not record the results of `train`,
    it runs again without training.
    """
    with suppress(OSError):  # a full disk; then they stay longer
        write_json(folder / FINISHED, {"run": run})


def remove_finished(run: str) -> None:
    """Remove the checkpoints of a run whose results DVC has recorded."""
    remove_folders(lambda folder: read_run(folder) == run)


def remove_folders(is_unused: Callable[[Path], bool]) -> None:
    """Remove the folders of checkpoints that are unused, except those that a process has locked."""
    for folder in (cache_dir() / "checkpoints").glob("*/"):
        with suppress(OSError), FileLock(f"{folder}.lock", timeout=0):  # its Timeout is an OSError
            if is_unused(folder):
                shutil.rmtree(folder)


def read_run(folder: Path) -> str | None:
    """The key of the run whose finished training has its checkpoints in a folder; None when it is not finished."""
    try:
        return read_json(folder / FINISHED, ["run"])["run"]
    except UserError:
        return None


def days_since_use(folder: Path) -> float:
    return (time.time() - folder.stat().st_mtime) / 86400


def make_training_key(params: dict[str, Any], files: list[Path]) -> dict[str, Any]:
    """All that decides the bytes of a training's result: params, files, code, versions and each rank's processor.

    UserError when ranks differ in more than the processor.
    """
    stages = Path(__file__).parent.parent
    files_loaded = [getattr(module, "__file__", None) for module in sys.modules.values()]
    code = {Path(file) for file in files_loaded if file and stages in Path(file).parents}
    key = {
        "params": params,
        "files": sha256_of_all(files),
        "code": sha256_of_all(sorted(code)),
        "versions": {name: version(name) for name in ("accelerate", "numpy", "torch", "transformers")},
    }
    ranks.require_equal(key)
    return key | {"processors": ranks.gather(describe_processor())}


def find_latest(folder: Path) -> Path | None:
    """The last complete checkpoint whose best checkpoint is complete too; incomplete ones are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=get_step, reverse=True)
    complete = {checkpoint.name: best for checkpoint in found if (best := read_best(checkpoint))}
    for checkpoint in found:
        if checkpoint.name not in complete:
            shutil.rmtree(checkpoint)
    return next((folder / name for name, best in complete.items() if best in complete), None)


def read_best(checkpoint: Path) -> str | None:
    """The name of the best checkpoint at the time when this one was written; None when this one is not complete."""
    try:
        manifest = read_json(checkpoint / MANIFEST, ["best", "sha256"])
    except UserError:
        return None
    return manifest["best"] if manifest["sha256"] == hash_checkpoint(checkpoint) else None


def hash_checkpoint(checkpoint: Path) -> str:
    return sha256_of_all(sorted(file for file in checkpoint.iterdir() if file.name != MANIFEST))


def get_step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


@contextmanager
def begin_checkpoint(checkpoint: Path) -> Iterator[None]:
    """Mark a checkpoint as incomplete while the block writes it; if the block fails, remove it to free the disk."""
    (checkpoint / MANIFEST).unlink(missing_ok=True)
    try:
        yield
    except Exception:
        shutil.rmtree(checkpoint, ignore_errors=True)
        raise


def complete_checkpoint(checkpoint: Path, best: str | None) -> None:
    """Mark a checkpoint as complete; then remove all others except the best one."""
    best = Path(best or checkpoint).name
    write_json(checkpoint / MANIFEST, {"best": best, "sha256": hash_checkpoint(checkpoint)})
    for other in checkpoint.parent.glob("checkpoint-*"):
        if other.name not in (checkpoint.name, best):
            shutil.rmtree(other)
