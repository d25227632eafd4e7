"""A tiny exported classifier as a model of MLflow, and its server, which runs the code that is logged with it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPResponse
from pathlib import Path

import mlflow
import psutil
import requests
from support.project import make_params

from stages.core.param_sections import Preprocess
from stages.inference.exporting import export_fp32
from stages.model.classifier import build_classifier
from stages.text.tokenizer import configure, load_tokenizer
from stages.tracking.exported_model import PACKAGES
from stages.tracking.model_logging import log_classifier

Command = Callable[[Path, int], list[str]]


def make_served_model(tiny_model: Path, folder: Path, pairs: bool = False) -> Path:
    """Log an export of a random classifier, of texts or pairs, to a store in `folder`; return the model's folder."""
    tokenizer = load_tokenizer(tiny_model)
    preprocess = Preprocess(**make_params({"preprocess.max_length": 64})["preprocess"])
    configure(tokenizer, tiny_model, preprocess, pairs)
    build_classifier(tiny_model, ["bad", "good"], tokenizer).save_pretrained(folder / "classifier")
    tokenizer.save_pretrained(folder / "classifier")
    (folder / "onnx").mkdir()
    export_fp32(folder / "classifier", folder / "onnx")
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("served", artifact_location=(folder / "artifacts").as_uri()))
    model_id = log_classifier(run.info.run_id, "classifier-onnx", folder / "onnx", pairs, False, PACKAGES)
    location = client.get_logged_model(model_id).artifact_location
    mlflow.set_tracking_uri(None)
    return Path(location.removeprefix("file://"))


def make_command(model: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "stages.serve", "--model", str(model), "--port", str(port)]


class ServedModel:
    """A running `python -m stages.serve`, or what `command` makes of the model's folder and a port."""

    def __init__(
        self, model: Path, folder: Path, *options: str, command: Callable[[Path, int], list[str]] | None = None
    ):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{self.port}", folder / f"{self.port}.log"
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        variables = {"PYTHONPATH": str(model / "code"), "OMP_NUM_THREADS": "1", "HOME": str(self.home)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*(command or make_command)(model, self.port), *options], cwd=folder, stdout=log, stderr=log,
                env=os.environ | variables,
            )  # fmt: skip
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        for _ in range(1200):
            assert self.process.poll() is None, self.log.read_text()
            try:
                if requests.get(f"{self.url}/health", timeout=5).ok:
                    return
            except requests.RequestException:
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def post(self, data: bytes | None = None, **body: object) -> requests.Response:
        """The answer to a body, or to the JSON of the keywords."""
        url, headers = f"{self.url}/invocations", {"Content-Type": "application/json"}
        if data is None:
            return requests.post(url, json=body, timeout=60)
        return requests.post(url, data=data, headers=headers, timeout=60)

    def begin(self, size: int) -> socket.socket:
        """Send the head of a request whose body has so many bytes; the server waits for the body."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        lines = ("POST /invocations HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {size}")
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return connection

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=60).close()
        except ConnectionError:
            return False
        return True

    def memory(self) -> float:
        """Of the server, in MB."""
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def stop(self) -> int:
        """End it as `docker stop` does; return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=60)


def read_answer(connection: socket.socket) -> tuple[int, str]:
    """Status and body of the answer to a request that was begun."""
    answer = HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.read().decode()
