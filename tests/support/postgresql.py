"""A PostgreSQL server on 127.0.0.1 for the time of a test."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "postgres"
PROGRAMS = Path("/usr/lib/postgresql")  # where Debian has them, by version


@contextmanager
def run_postgresql() -> Iterator[str]:
    """The address of an empty database; the test is skipped where there is no PostgreSQL."""
    pytest.importorskip("psycopg", reason="needs psycopg")
    path = os.pathsep.join([*map(str, sorted(PROGRAMS.glob("*/bin"))), os.environ["PATH"]])
    if not shutil.which("pg_ctl", path=path) or not shutil.which("initdb", path=path):
        pytest.skip("PostgreSQL is not installed")
    as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    if as_user:
        shutil.chown(folder, USER)

    def run(*command: str) -> None:
        subprocess.run(
            [*as_user, str(shutil.which(command[0], path=path)), *command[1:]],
            check=True, stdout=subprocess.DEVNULL, cwd=folder,
        )  # fmt: skip

    data, port = str(folder / "data"), find_free_port()
    try:
        run("initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
