"""A real `mlflow server` on loopback, to be killed, stalled and filled up."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import requests


class Server:
    """A server whose database and artifacts are in `folder`, or at the addresses that are given."""

    def __init__(self, folder: Path, database: str | None = None, artifacts: str | None = None):
        self.folder = folder
        self.database = database or f"sqlite:///{folder}/server.db"
        self.artifacts = artifacts or f"{folder}/files"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.process = f"http://127.0.0.1:{self.port}", None

    def start(self) -> None:
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", self.database, "--artifacts-destination", self.artifacts,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=self.folder,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # eight processes, not needed here
        )  # fmt: skip
        for _ in range(300):
            if self.is_ready():
                return
            time.sleep(0.1)
        raise RuntimeError(f"mlflow server did not start at {self.url}")

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=1).ok
        except requests.RequestException:
            return False

    def signal(self, number: int) -> None:
        """Send a signal to the server and its workers, which have a session of their own."""
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait()

    def stall(self) -> None:
        """Stop it: the system still accepts connections, and nobody answers them."""
        self.signal(signal.SIGSTOP)

    def fill(self) -> None:
        """Simulate a full disk: the database, which is larger than the limit, cannot grow, nor write its journal."""
        self.limit_files(1 << 16)

    def limit_files(self, size: int) -> None:
        main = psutil.Process(self.process.pid)
        for process in (main, *main.children(recursive=True)):
            process.rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))

    def recover(self) -> None:
        if self.process.poll() is not None:
            self.start()
            return
        self.signal(signal.SIGCONT)
        self.limit_files(psutil.RLIM_INFINITY)
