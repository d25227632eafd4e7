"""A model's HTTP server under load: requests a second, latency, errors, and how its memory grows.

python -m benchmarks.serving torch=models:/text-classifier/1 int8=models:/text-classifier@champion [--plain FOLDER]

Each model is served by `python -m stages.serve`, and 16 clients ask it for answers to single texts of one to twelve
reviews. `--plain models/classifier` adds transformers' pipeline, as `mlflow.transformers` saves it. Other work on the
machine changes the numbers; the clients themselves use a part of it.
"""

import argparse
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import psutil
import requests
from transformers import pipeline

from benchmarks.deploy import REVIEWS, make_texts
from stages.core.hardware import cpu_name

COLUMNS = "start, s", "errors", "requests/s", "median", "p99", "slowest", "MB at first", "half-way", "at last"


@dataclass
class Server:
    """A running server, and the seconds until it answered."""

    url: str
    process: psutil.Process
    seconds: float

    def measure_memory(self) -> float:
        """In MB."""
        return self.process.memory_info().rss / 1e6


def main() -> None:
    arguments = parse_arguments()
    texts = make_texts(REVIEWS["mixed"], arguments.requests)
    rows = {}
    with tempfile.TemporaryDirectory() as temporary:
        plain = [f"transformers' pipeline={save_plain(arguments.plain, temporary)}"] if arguments.plain else []
        for one in arguments.models + plain:
            name, _, uri = one.rpartition("=")
            with start_server(uri) as server:
                rows[name or uri] = measure(server, texts, arguments.clients)
    print(f"{cpu_name()}, {psutil.cpu_count()} cores; {arguments.requests:,} requests, {arguments.clients} clients\n")
    print("| | " + " | ".join(COLUMNS) + " |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(row) + " |")


def save_plain(classifier: Path, temporary: str) -> Path:
    """Save transformers' pipeline of a model folder as a model of MLflow, without requirements; return its folder."""
    folder = Path(temporary) / "plain"
    plain = pipeline("text-classification", str(classifier), device="cpu", truncation=True)
    options = {"truncation": True}
    mlflow.transformers.save_model(plain, folder, pip_requirements=[], input_example=["good"], model_config=options)
    return folder


@contextmanager
def start_server(uri: str) -> Iterator[Server]:
    """Serve a model on a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "stages.serve", "--model", uri, "--port", str(port)]
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            while not is_ready(url):
                if process.poll() is not None:
                    log.seek(0)
                    sys.exit(log.read().decode())
                time.sleep(0.05)
            yield Server(f"{url}/invocations", psutil.Process(process.pid), time.perf_counter() - start)
        finally:
            process.terminate()


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).ok
    except requests.RequestException:
        return False


def measure(server: Server, texts: list[str], clients: int) -> list[str]:
    """The cells of a row of the table."""
    sessions = threading.local()
    ask_server = partial(ask, server.url, sessions)
    ask_server(texts[0])
    memory, latencies = [server.measure_memory()], []
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for half in (texts[: len(texts) // 2], texts[len(texts) // 2 :]):
            latencies += list(pool.map(ask_server, half))
            memory.append(server.measure_memory())
    seconds = time.perf_counter() - start
    answered = [latency * 1000 for latency in latencies if latency is not None]
    median, slow, slowest = np.quantile(answered, [0.5, 0.99, 1]) if answered else [np.nan] * 3
    return [
        f"{server.seconds:.1f}",
        str(len(latencies) - len(answered)),
        f"{len(answered) / seconds:.0f}",
        *(f"{value:.0f} ms" for value in (median, slow, slowest)),
        *(f"{value:.0f}" for value in memory),
    ]


def ask(url: str, sessions: threading.local, text: str) -> float | None:
    """Seconds until the answer; None for an error. Each client keeps its connection."""
    if not hasattr(sessions, "session"):
        sessions.session = requests.Session()
    start = time.perf_counter()
    try:
        answer = sessions.session.post(url, json={"inputs": [text]}, timeout=120)
        is_right = answer.ok and len(answer.json()["predictions"]) == 1
    except requests.RequestException:
        return None
    return time.perf_counter() - start if is_right else None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL", help="a URI of MLflow, or a folder with its model")
    parser.add_argument("--plain", type=Path, metavar="FOLDER", help="model folder for transformers' pipeline")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=16)
    return parser.parse_args()


if __name__ == "__main__":
    main()
