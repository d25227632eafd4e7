"""A copy of the repository in which tests run the real pipeline: a few hundred demo rows and a tiny random model."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import mlflow
import yaml
from support.project import ROOT, make_params
from support.warm_python import PYTHON, find_python

SMALL = {
    "data.max_train_samples": 200,
    "data.max_test_samples": 100,
    "model.name": "tiny",
    "model.revision": None,
    "preprocess.max_length": 64,
    "train.freeze_layers": 0,
    "train.learning_rate": 1e-3,
    "train.num_train_epochs": 2,
    "train.per_device_train_batch_size": 16,
}


def wait_for_senders(folder: Path) -> None:
    """Wait until no process has the MLflow database open, because it could change while it is copied."""
    for _ in range(600):
        if not (folder / "mlruns/mlflow.db-wal").exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{folder}/mlruns/mlflow.db is still in use")


class Checkout:
    """A git repository in which commands are run."""

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def make(cls, folder: Path, model: Path) -> "Checkout":
        """A copy of the repository's files as they are now, and of a model."""
        self = cls(folder)
        listed = self.run("git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file() and not name.startswith(("tests/", "metrics/", "dvc.lock")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
        shutil.copytree(model, folder / "tiny")
        (folder / "params.yaml").write_text(yaml.safe_dump(make_params(SMALL), sort_keys=False))
        self.run("git", "init", "-q", "-b", "main")
        self.run("git", "config", "user.name", "Test")
        self.run("git", "config", "user.email", "test@example.org")
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", "start")
        return self

    def copy(self, folder: Path) -> "Checkout":
        """Copy it to another folder, where a test may change it."""
        wait_for_senders(self.folder)
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout(folder)

    def clone(self, folder: Path) -> "Checkout":
        """Clone what is committed into another folder."""
        self.run("git", "clone", "-q", ".", str(folder))
        return Checkout(folder)

    def run(self, *command: str, fails: bool = False, **variables: str) -> str:
        """Run a command there, as in an activated environment; return its output.

        `python` and `dvc` have imported the large libraries, unless `variables` has some that they read at that time.
        """
        is_cold = any(name.startswith("OMP_") for name in variables)
        programs = Path(PYTHON).parent if is_cold else find_python().parent
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
        environment |= variables
        environment["MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"] = "2"
        environment["PATH"] = os.pathsep.join([str(programs), str(Path(PYTHON).parent), environment["PATH"]])
        with tempfile.TemporaryFile("w+") as output:  # a pipe ends with the last process that the command left behind
            result = subprocess.run(
                command, cwd=self.folder, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False
            )
            output.seek(0)
            text = output.read()
        assert (result.returncode != 0) == fails, text[-5000:]
        return text

    def json(self, path: str) -> dict:
        return json.loads((self.folder / path).read_text())

    def runs(self) -> list[mlflow.entities.Run]:
        """All MLflow runs, oldest first."""
        mlflow.set_tracking_uri(f"sqlite:///{self.folder}/mlruns/mlflow.db")
        return mlflow.search_runs(
            experiment_names=["text-classifier"], order_by=["attributes.start_time"], output_format="list"
        )
