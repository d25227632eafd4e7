"""Finished runs whose stage has not ended: one that is killed now is repeated by DVC, and has to find its run again.

Before a stage logs FINISHED it marks the journal with its process. A marked journal of which all is sent is not
deleted, but moved to `mlruns/unconfirmed/`. As its last step the stage removes mark and journal. When the stage runs
again and the process of the mark is gone, it was killed in between: the journal is moved back, and the run continues.
Nothing here imports MLflow.
"""

import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from stages.core.errors import UserError
from stages.core.files import main_checkout, read_json, write_json

MARK = "stage.json"
KEEP_DAYS = 30


def unconfirmed_folder() -> Path:
    return main_checkout() / "mlruns" / "unconfirmed"


def mark(journal: Path) -> None:
    """Note in the folder of a journal that this process finishes its run."""
    write_json(journal / MARK, describe_process() | {"started": psutil.Process().create_time()})


def describe_process() -> dict[str, Any]:
    """What tells this process from the others that run now, also on other machines that share the checkout."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def is_marked(journal: Path) -> bool:
    return (journal / MARK).exists()


def was_killed(journal: Path) -> bool:
    """Whether the journal is marked by a process of this machine that has ended without removing the mark."""
    process = read_mark(journal)
    if not process or process["host"] != socket.gethostname():  # only that machine can tell
        return False
    try:
        return psutil.Process(process["pid"]).create_time() != process["started"]
    except psutil.NoSuchProcess:
        return True


def read_mark(journal: Path) -> dict[str, Any]:
    with suppress(UserError, OSError):
        return read_json(journal / MARK, ["host", "pid", "started"])
    return {}


def is_own(journal: Path) -> bool:
    """Whether this process has marked the journal."""
    return read_mark(journal).items() >= describe_process().items()


def keep(journal: Path) -> None:
    """Move a marked journal, of which all is sent, out of the way."""
    unconfirmed_folder().mkdir(exist_ok=True)
    journal.rename(unconfirmed_folder() / journal.name)


def return_killed(journals: Path) -> None:
    """Move back to `journals` those whose stage was killed, and delete those that nothing has asked for in a month."""
    for folder in list_kept():
        if not is_marked(folder) or time.time() - (folder / MARK).stat().st_mtime > KEEP_DAYS * 86400:
            shutil.rmtree(folder, ignore_errors=True)
        elif was_killed(folder):
            folder.rename(journals / folder.name)


def confirm(journals: Path) -> None:
    """Remove the marks of this process, and the journals that only the mark has kept."""
    for marked in journals.glob(f"*/{MARK}"):
        if is_own(marked.parent):
            marked.unlink(missing_ok=True)
    for folder in list_kept():  # after the others, because a sender may have moved one of these meanwhile
        if is_own(folder):
            shutil.rmtree(folder, ignore_errors=True)


def list_kept() -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from list(unconfirmed_folder().iterdir())
