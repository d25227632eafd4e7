"""What DVC knows of each experiment: its params, metrics and curves, wherever its outputs come from."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.api import DVCFileSystem
from dvc.repo import Repo

from stages.core.params import Params

ARTIFACTS = ("params.yaml", "plots", "reports")


@dataclass
class Experiment:
    """A DVC experiment or, without a name, the commit that is checked out, with what a finished pipeline left."""

    name: str
    rev: str
    baseline: str

    def __post_init__(self) -> None:
        self.files = DVCFileSystem(rev=self.rev)

    def __str__(self) -> str:
        return self.name or f"repro-{self.rev[:7]}"

    @property
    def finished(self) -> bool:
        """Whether the pipeline ran to its end, and its outputs are in the cache."""
        try:
            return bool(self.metrics and self.key)
        except OSError:
            return False

    @property
    def key(self) -> str:
        """That of the MLflow run which trained the model."""
        return self.json("models/mlflow_run.json")["run"]

    @property
    def params(self) -> Params:
        """UserError when this version of the pipeline does not know the params of that one."""
        return Params.parse(self.files.read_text("params.yaml"), f"params.yaml of {self}")

    @property
    def metrics(self) -> dict[str, float]:
        """By the names that MLflow has for them."""
        test, train = self.json("metrics/evaluate.json"), self.json("metrics/train.json")
        counts = {f"train/{name}": value for name, value in train.items() if name.endswith("_parameters")}
        return {f"test/{name}": value for name, value in test.items()} | counts

    @property
    def timings(self) -> dict[str, float]:
        return {
            key: value for path in self.files.glob("metrics/timings/*.json") for key, value in self.json(path).items()
        }

    @property
    def history(self) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """Rows of the curves of training and validation."""
        texts = [self.files.read_text(f"plots/{name}.csv") for name in ("training", "validation")]
        return tuple(list(csv.DictReader(io.StringIO(text))) for text in texts)

    @property
    def statistics(self) -> dict[str, Any]:
        return self.json("data/statistics.json")

    def json(self, path: str) -> Any:
        return json.loads(self.files.read_text(path))

    def fetch(self, path: str, folder: Path) -> Path:
        """Copy a file or folder of that time."""
        self.files.get(path, str(folder / path), recursive=True)
        return folder / path


def all_experiments() -> list[Experiment]:
    """The commit that is checked out, then the DVC experiments of all commits."""
    repo = Repo()
    head = repo.scm.get_rev()
    named = repo.experiments.ls(all_commits=True)
    return [Experiment("", head, head)] + [
        Experiment(name, rev, baseline) for baseline, found in named.items() for name, rev in sorted(found)
    ]
