"""The registered model in MLflow: versions that passed the gate, the aliases `challenger` and `champion`."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from stages.core.errors import UserError
from stages.core.files import main_checkout
from stages.evaluation.gate_rules import RowResults
from stages.tracking.mlflow_sender import KEY, LOST, NotReachedError, connect, find_runs, ready_models, reason

CHAMPION, CHALLENGER = "champion", "challenger"
FORMER = "former_champions"  # tag of the model: versions, the last one last
MEASURED = "gate.run"  # tag of a version: the run that holds its predictions
TEST_ROWS = "gate.test_sha256"  # tag of a version: the rows that these are of
COMPARED = "gate.champion"  # tag of a version: the champion when the gate let it pass


@contextmanager
def open_registry(name: str) -> Iterator["Registry"]:
    """The registered model of this name in MLflow, for one process at a time; UserError when MLflow does not answer."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    try:
        client = connect(uri)
        with FileLock(main_checkout() / "mlruns" / "registry.lock"):
            yield Registry(client, name)
    except (NotReachedError, MlflowException) as error:
        raise UserError(f"MLflow at {uri or 'mlruns'}: {reason(error)}") from error


def find_measured(
    client: MlflowClient, experiment: str, key: str, metrics: dict[str, float], raw_sha256: str
) -> tuple[Run, Run]:
    """The run that trained the model, and the newest finished one that measured it, on these data with these results.

    `key` is that of `models/mlflow_run.json`. UserError when there is none: not evaluated, not sent, another store.
    """
    found = client.get_experiment_by_name(experiment)
    tags = (KEY, "train.run", "restored.from")
    runs = [run for tag in tags for run in find_runs(client, found.experiment_id, tag, key)] if found else []
    same = [
        run
        for run in runs
        if run.info.status == "FINISHED"
        and run.data.tags.get("data.raw_sha256") == raw_sha256
        and all(run.data.metrics.get(f"test/{name}") == value for name, value in metrics.items())
    ]
    if not same:
        raise UserError(
            f"MLflow has no finished run of the model in models/classifier (run {key}) with these data and the results "
            "in metrics/evaluate.json: `dvc repro` evaluates it, `dvc checkout` brings the model of this commit back, "
            "`python -m stages.sync` sends what waits."
        )
    return runs[0], max(same, key=lambda run: run.info.start_time)


def number(version: ModelVersion | None) -> str:
    """That of a version, which is an int from SQLite and a str from a server; "none" for none."""
    return str(version.version) if version else "none"


class Registry:
    """The versions of one registered model, which need not exist yet."""

    def __init__(self, client: MlflowClient, name: str):
        self.client, self.name = client, name

    def aliased(self, alias: str) -> ModelVersion | None:
        """The version that has this alias."""
        try:
            aliases = self.client.get_registered_model(self.name).aliases
        except MlflowException as error:
            if error.error_code != LOST:
                raise
            return None
        return self.client.get_model_version(self.name, str(aliases[alias])) if alias in aliases else None

    def versions(self, filters: str = "") -> list[ModelVersion]:
        """Those that exist, the newest first."""
        found = self.client.search_model_versions(f"name = '{self.name}'{filters}")
        return sorted(found, key=lambda version: -int(version.version))

    def answers_of(self, version: ModelVersion) -> RowResults:
        """How the champion answered its test rows; UserError when MLflow no longer has that."""
        run, test_sha256 = version.tags.get(MEASURED, version.run_id), version.tags.get(TEST_ROWS, "")
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = self.client.download_artifacts(run, "reports/predictions.csv", folder)
            except (OSError, MlflowException) as error:
                raise UserError(
                    f"MLflow has no reports/predictions.csv of version {version.version} of {self.name}, the champion "
                    f"(run {run}: {reason(error)}); without it (gate.champion_confidence: null) nothing is compared."
                ) from None
            return RowResults.read(Path(path), test_sha256)

    def make_challenger(self, trained: Run, tags: dict[str, str], table: str) -> ModelVersion:
        """Register the model of a run, once, with the gate's table as description, and let the alias point to it.

        A model that is the champion already stays that, with the new tags and table, and has no challenger then: who
        goes on from the champion does not promote what was tried before.
        """
        version = self.version_of(trained) or self.register(trained)
        champion = self.aliased(CHAMPION)
        compared = {COMPARED: number(champion)}
        for key, value in (tags | compared).items():
            self.client.set_model_version_tag(self.name, version.version, key, value)
        self.client.update_model_version(self.name, version.version, table)
        if number(champion) != number(version):
            self.client.set_registered_model_alias(self.name, CHALLENGER, version.version)
        elif self.aliased(CHALLENGER):
            self.client.delete_registered_model_alias(self.name, CHALLENGER)
        return self.client.get_model_version(self.name, version.version)

    def version_of(self, trained: Run) -> ModelVersion | None:
        return next(iter(self.versions(f" and run_id = '{trained.info.run_id}'")), None)

    def register(self, trained: Run) -> ModelVersion:
        ready = ready_models(self.client, trained)
        if not ready:
            raise UserError(
                f"MLflow's run {trained.info.run_name} keeps no model that could be registered: with "
                "tracking.log_model: true `dvc repro --force train` and `dvc repro` make a run that does."
            )
        return mlflow.register_model(f"models:/{ready[0].model_id}", self.name)

    def withdraw(self, trained: Run) -> None:
        """A model that no longer passes is no challenger."""
        version, challenger = self.version_of(trained), self.aliased(CHALLENGER)
        if version and number(version) == number(challenger):
            self.client.delete_registered_model_alias(self.name, CHALLENGER)

    def promote(self) -> tuple[ModelVersion, ModelVersion | None]:
        """Make the challenger champion; return it and the one before. UserError when there is none that may be it."""
        challenger, champion = self.aliased(CHALLENGER), self.aliased(CHAMPION)
        new, now = number(challenger), number(champion)
        if challenger is None:
            raise UserError(f"{self.name} has no challenger (champion: {now}); python -m stages.gate may make one.")
        if new == now:
            self.client.delete_registered_model_alias(self.name, CHALLENGER)
            raise UserError(f"version {now} of {self.name}, the challenger, is the champion already.")
        if challenger.tags.get(COMPARED) != now:
            raise UserError(
                f"version {new} of {self.name}, the challenger, did not pass the gate against the present champion "
                f"({now}); run python -m stages.gate with it again."
            )
        if champion:
            self.set_former([*self.former(), now])
        self.client.set_registered_model_alias(self.name, CHAMPION, new)
        self.client.delete_registered_model_alias(self.name, CHALLENGER)
        return self.client.get_model_version(self.name, new), champion

    def rollback(self) -> tuple[ModelVersion, ModelVersion]:
        """Make the champion before the present one champion again; return both, or UserError when there is none."""
        champion = self.aliased(CHAMPION)
        if champion is None:
            raise UserError(f"{self.name} has no champion; python -m stages.promote makes the challenger one.")
        exist = {number(version) for version in self.versions()}
        former = [version for version in self.former() if version in exist]
        while former[-1:] == [number(champion)]:  # a promotion was interrupted
            former.pop()
        if not former:
            raise UserError(f"before version {champion.version}, the champion, {self.name} had none to return to.")
        self.client.set_registered_model_alias(self.name, CHAMPION, former[-1])
        self.set_former(former[:-1])
        return self.client.get_model_version(self.name, former[-1]), champion

    def former(self) -> list[str]:
        """The champions before the present one, the last one last."""
        return json.loads(self.client.get_registered_model(self.name).tags.get(FORMER, "[]"))

    def set_former(self, versions: list[str]) -> None:
        self.client.set_registered_model_tag(self.name, FORMER, json.dumps(versions))
