"""DVC's experiments: the params, metrics and curves of each, wherever DVC has stored its outputs."""

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
    """A DVC experiment or, without a name, the commit that is checked out, with the outputs of its pipeline run."""

    name: str
    rev: str
    baseline: str  # the commit that the experiment started from

    def __post_init__(self) -> None:
        self.files = DVCFileSystem(rev=self.rev)

    def __str__(self) -> str:
        return self.name or f"repro-{self.rev[:7]}"

    @property
    def is_finished(self) -> bool:
        """Whether the pipeline ran to its end, and its outputs are in DVC's cache."""
        try:
            return bool(self.metrics and self.key)
        except OSError:
            return False

    @property
    def key(self) -> str:
        """The key of the MLflow run that trained the model."""
        return self.read_json("models/mlflow_run.json")["run"]

    @property
    def params(self) -> Params:
        """Its params; UserError when they are those of another version of the pipeline."""
        return Params.parse(self.files.read_text("params.yaml"), f"params.yaml of {self}")

    @property
    def metrics(self) -> dict[str, float]:
        """Its metrics, by their names in MLflow."""
        test = self.read_json("metrics/evaluate.json")
        train = self.read_json("metrics/train.json")
        counts = {f"train/{name}": value for name, value in train.items() if name.endswith("_parameters")}
        return {f"test/{name}": value for name, value in test.items()} | counts

    @property
    def timings(self) -> dict[str, float]:
        paths = self.files.glob("metrics/timings/*.json")
        return {key: value for path in paths for key, value in self.read_json(path).items()}

    @property
    def statistics(self) -> dict[str, Any]:
        return self.read_json("data/statistics.json")

    def read_json(self, path: str) -> Any:
        return json.loads(self.files.read_text(path))

    def read_curve(self, split: str) -> list[dict[str, str]]:
        """The rows of the curve of `training` or `validation`."""
        return list(csv.DictReader(io.StringIO(self.files.read_text(f"plots/{split}.csv"))))

    def download(self, path: str, folder: Path) -> Path:
        """Copy a file or folder of the experiment into `folder`."""
        self.files.get(path, str(folder / path), recursive=True)
        return folder / path


def list_experiments() -> list[Experiment]:
    """The commit that is checked out, then the DVC experiments of all commits."""
    repo = Repo()
    head = repo.scm.get_rev()
    named = repo.experiments.ls(all_commits=True)
    return [Experiment("", head, head)] + [
        Experiment(name, rev, baseline) for baseline, found in named.items() for name, rev in sorted(found)
    ]
