"""A stage ends with the process that started it: DVC, or the launcher of several processes."""

import os
import signal
import sys
import threading
import time

import psutil

from stages.core.warm import CLIENT

SECONDS_BETWEEN_LOOKS = 1.0


def stop_when_starter_is_gone() -> None:
    """Send this process SIGTERM, on which a training saves a checkpoint, when DVC or a launcher was killed.

    `dvc queue stop --kill` ends DVC alone. Its stage would go on, and hold cores that the next experiment waits for.
    The shell between the two does not always end with DVC, so that the signal of the operating system for a dead
    parent (prctl(2)) is not enough. A stage that was started by hand is not watched, but a launcher such as torchrun
    is, which does not end its processes when it is killed.
    """
    client = os.environ.get(CLIENT)  # that DVC started, and that handed this command over
    parents = psutil.Process(int(client) if client else None).parents()
    launchers = 1 if "WORLD_SIZE" in os.environ else 0
    watched = parents[:launchers]
    if "DVC_STAGE" in os.environ:
        up_to_dvc = find_dvc(parents)
        if not up_to_dvc and is_orphaned(parents[launchers:]):
            stop()  # DVC was killed while this process imported its libraries
        watched += up_to_dvc
    if watched:
        threading.Thread(target=watch, args=(watched,), daemon=True).start()


def find_dvc(parents: list[psutil.Process]) -> list[psutil.Process]:
    """The processes up to DVC, the nearest first; empty when DVC is not among them."""
    for number, process in enumerate(parents, 1):
        try:
            names = [argument.replace("\\", "/").rpartition("/")[2] for argument in process.cmdline()[:3]]
        except psutil.Error:
            continue
        if any(name.startswith("dvc") for name in names):
            return parents[:number]
    return []


def is_orphaned(parents: list[psutil.Process]) -> bool:
    """Whether a process has lost its parent, in whose place the first process of the system or of the user is then."""
    return not parents or parents[0].pid == 1 or parents[0].name() == "systemd"


def watch(processes: list[psutil.Process]) -> None:
    while all(is_alive(process) for process in processes):
        time.sleep(SECONDS_BETWEEN_LOOKS)
    stop()


def stop() -> None:
    if os.environ.get("RANK", "0") == "0":
        print("the process that started this stage was ended", file=sys.stderr)
    os.kill(os.getpid(), signal.SIGTERM)


def is_running(pid: int) -> bool:
    """Whether the process with this id has not ended; one that waits for its parent to notice has."""
    try:
        return is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
