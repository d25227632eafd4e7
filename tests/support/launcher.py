"""Trainings on several processes, started as torchrun or a person on several hosts starts them."""

import os
import re
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil
from support.warm_python import PYTHON

TRAIN = ("-m", "stages.train")
TORCHRUN = ("torchrun", "--standalone", "--nproc_per_node")


def make_environment(**variables: str) -> dict[str, str]:
    """An activated environment, one thread for each process."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
    path = f"{Path(PYTHON).parent}{os.pathsep}{environment['PATH']}"
    return environment | {"OMP_NUM_THREADS": "1", "PATH": path} | variables


def start(command: list[str], folder: Path, **variables: str) -> subprocess.Popen:
    """Start a command; its output is read by `communicate`."""
    return subprocess.Popen(
        command, cwd=folder, env=make_environment(**variables), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def start_torchrun(count: int, folder: Path, **variables: str) -> subprocess.Popen:
    return start([*TORCHRUN, str(count), *TRAIN], folder, **variables)


def start_ranks(
    folders: list[Path], prefix: Sequence[str] = (), command: Sequence[str] = TRAIN, **variables: str
) -> list[subprocess.Popen]:
    """Start a rank in each folder, without torchrun: rank 0 keeps the store. `prefix` runs the last one."""
    port, last = str(find_free_port()), len(folders) - 1
    return [
        start(
            [*(prefix if rank == last else ()), PYTHON, *command],
            folder,
            **make_rank(rank, len(folders), port) | variables,
        )
        for rank, folder in enumerate(folders)
    ]


def make_rank(rank: int, world: int, port: str, host: str = "127.0.0.1") -> dict[str, str]:
    """The variables that a launcher sets, with one rank on each host."""
    values = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    return {name: str(value) for name, value in values.items()} | {"MASTER_ADDR": host, "MASTER_PORT": port}


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def find_ranks(process: int) -> list[psutil.Process]:
    """The ranks among the processes that a process has started, by their number."""
    found = [one for one in psutil.Process(process).children(True) if is_rank(one)]
    return sorted(found, key=lambda one: int(one.environ()["RANK"]))


def is_rank(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[-2:] == list(TRAIN) and "RANK" in process.environ()
    except psutil.Error:
        return False


def finish(process: subprocess.Popen, code: int = 0) -> str:
    """The output of a process that ends, in time, with this exit code."""
    output = process.communicate(timeout=120)[0]
    assert process.returncode == code, output[-5000:]
    return output


def count_errors(output: str) -> int:
    """How many errors of stages an output has."""
    return len(re.findall("^error in stage|^stage train was interrupted", output, re.MULTILINE))
