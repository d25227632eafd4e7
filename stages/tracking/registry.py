"""MLflow's registered model: the versions that passed the gate, and the aliases `challenger` and `champion`."""

import json
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
from stages.core.paths import PREDICTIONS
from stages.tracking.mlflow_store import (
    EXPORTED,
    NOT_FOUND,
    NotReachedError,
    connect,
    describe_error,
    find_ready_models,
    find_runs_of_model,
    is_stored_as,
)  # fmt: skip
from stages.tracking.store_uri import describe_store, read_store_uri

CHAMPION, CHALLENGER = "champion", "challenger"
FORMER_CHAMPIONS_TAG = "former_champions"  # of the registered model: versions, the latest last
EVALUATION_RUN_TAG = "gate.run"  # of a version: the run that has its predictions
TEST_ROWS_TAG = "gate.test_sha256"  # of a version: the hash of the test rows of these predictions
COMPARED_TAG = "gate.champion"  # of a version: the champion at the time when the version passed the gate
EXPORTED_TAG = "exported_from"  # of a version: the version that it is the ONNX export of


@contextmanager
def open_registry(name: str) -> Iterator["Registry"]:
    """The registered model of this name, for one process at a time; UserError when MLflow does not answer."""
    uri = read_store_uri()
    try:
        client = connect(uri)
        with FileLock(main_checkout() / "mlruns" / "registry.lock"):
            yield Registry(client, name)
    except (NotReachedError, MlflowException) as error:
        raise UserError(f"MLflow at {describe_store(uri)}: {describe_error(error)}") from error


def find_training_and_evaluation(
    client: MlflowClient, experiment: str, key: str, metrics: dict[str, float], raw_sha256: str
) -> tuple[Run, Run]:
    """The run that trained the model, and the newest finished run that evaluated it on these data with these metrics.

    `key` is the one in `models/mlflow_run.json`. UserError when there is no such run: the model was not evaluated, the
    run was not sent, or MLflow is another store.
    """
    found = client.get_experiment_by_name(experiment)
    runs = find_runs_of_model(client, found.experiment_id, key) if found else []
    evaluations = [
        run
        for run in runs
        if run.info.status == "FINISHED"
        and run.data.tags.get("data.raw_sha256") == raw_sha256
        and all(is_stored_as(value, run.data.metrics.get(f"test/{name}")) for name, value in metrics.items())
    ]
    if not evaluations:
        raise UserError(
            f"MLflow has no finished run of the model in models/classifier (run {key}) with these data and the results "
            "in metrics/evaluate.json. `dvc repro` evaluates the model, `dvc checkout` restores the model of this "
            "commit, and `python -m stages.sync` sends runs that were not sent yet."
        )
    return runs[0], max(evaluations, key=lambda run: run.info.start_time)


def version_number(version: ModelVersion | None) -> str:
    """The number of a version, which MLflow gives as int from SQLite and as str from a server; "none" for None."""
    return str(version.version) if version else "none"


class Registry:
    """The versions of one registered model, which need not exist yet."""

    def __init__(self, client: MlflowClient, name: str):
        self.client, self.name = client, name

    def find_by_alias(self, alias: str) -> ModelVersion | None:
        try:
            aliases = self.client.get_registered_model(self.name).aliases
        except MlflowException as error:
            if error.error_code != NOT_FOUND:
                raise
            return None
        return self.client.get_model_version(self.name, str(aliases[alias])) if alias in aliases else None

    def list_versions(self, filters: str = "") -> list[ModelVersion]:
        """The versions that exist, the newest first."""
        found = self.client.search_model_versions(f"name = '{self.name}'{filters}")
        return sorted(found, key=lambda version: -int(version.version))

    def download_predictions(self, version: ModelVersion, folder: Path) -> tuple[Path, str]:
        """Download the champion's predictions on the test rows; return their file, and the hash of these rows.

        UserError when MLflow does not have them.
        """
        run_id = version.tags.get(EVALUATION_RUN_TAG) or version.run_id or ""
        try:
            path = self.client.download_artifacts(run_id, str(PREDICTIONS), str(folder))
        except (OSError, MlflowException) as error:
            raise UserError(
                f"MLflow has no {PREDICTIONS} of version {version.version} of {self.name}, the champion "
                f"(run {run_id}: {describe_error(error)}). With gate.champion_confidence: null the gate compares with "
                "no champion."
            ) from None
        return Path(path), version.tags.get(TEST_ROWS_TAG, "")

    def make_challenger(self, training: Run, tags: dict[str, str], table: str) -> ModelVersion:
        """Register the model of a run, once, with the gate's table as description, and make it challenger.

        If it is the champion already, it gets the new tags and table, and there is no challenger any more: who returns
        to the champion does not want to promote an earlier attempt.
        """
        version = self.find_version(training) or self.register(training)
        champion = self.find_by_alias(CHAMPION)
        for key, value in (tags | {COMPARED_TAG: version_number(champion)}).items():
            self.client.set_model_version_tag(self.name, version.version, key, value)
        self.client.update_model_version(self.name, version.version, table)
        is_champion = champion is not None and champion.run_id == version.run_id  # itself, or as its export
        if not is_champion:
            self.client.set_registered_model_alias(self.name, CHALLENGER, version.version)
        elif self.find_by_alias(CHALLENGER):
            self.client.delete_registered_model_alias(self.name, CHALLENGER)
        return self.client.get_model_version(self.name, version.version)

    def find_version(self, training: Run) -> ModelVersion | None:
        """The version of a run's own model, not of its exports."""
        found = self.list_versions(f" and run_id = '{training.info.run_id}'")
        return next((version for version in found if EXPORTED_TAG not in version.tags), None)

    def register(self, training: Run) -> ModelVersion:
        ready = find_ready_models(self.client, training)
        if not ready:
            raise UserError(
                f"MLflow's run {training.info.run_name} has no model that could be registered. Set tracking.log_model: "
                "true, then run `dvc repro --force train` and `dvc repro`, which make a run with a model."
            )
        return mlflow.register_model(f"models:/{ready[0].model_id}", self.name)

    def withdraw(self, training: Run) -> None:
        """Remove the alias `challenger` from the model of a run, if it has that."""
        version, challenger = self.find_version(training), self.find_by_alias(CHALLENGER)
        if version and version_number(version) == version_number(challenger):
            self.client.delete_registered_model_alias(self.name, CHALLENGER)

    def promote(self) -> tuple[ModelVersion, ModelVersion | None]:
        """Make the challenger champion; return it and the champion before. UserError when no challenger is eligible."""
        challenger, champion = self.find_by_alias(CHALLENGER), self.find_by_alias(CHAMPION)
        new, present = version_number(challenger), version_number(champion)
        if challenger is None:
            raise UserError(
                f"{self.name} has no challenger (champion: {present}). A model becomes challenger when it passes "
                "python -m stages.gate."
            )
        if new == present:
            self.client.delete_registered_model_alias(self.name, CHALLENGER)
            raise UserError(f"version {new} of {self.name}, the challenger, is the champion already.")
        if challenger.tags.get(COMPARED_TAG) != present:
            raise UserError(
                f"version {new} of {self.name}, the challenger, did not pass the gate against the present champion "
                f"({present}); run python -m stages.gate with it again."
            )
        self.crown(new, champion)
        self.client.delete_registered_model_alias(self.name, CHALLENGER)
        return self.client.get_model_version(self.name, new), champion

    def promote_exported(self) -> tuple[ModelVersion, ModelVersion]:
        """Make the newest export of the champion champion in its place; return both.

        UserError when there is no champion, or no new export of it. The gate compares with the champion's predictions
        as before, which are those of the model that was exported.
        """
        champion = self.find_by_alias(CHAMPION)
        if champion is None:
            raise UserError(f"{self.name} has no champion whose export could take its place; promote a model first.")
        exports = find_ready_models(self.client, self.client.get_run(champion.run_id or ""), EXPORTED)
        newest = max(exports, key=lambda model: model.creation_timestamp, default=None)
        if newest is None:
            raise UserError(
                f"MLflow has no export of version {champion.version} of {self.name}, the champion; "
                "`python -m stages.export` makes one of the model in models/classifier."
            )
        if newest.model_uri == champion.source:
            raise UserError(f"version {champion.version} of {self.name}, the newest export, is the champion already.")
        version = mlflow.register_model(newest.model_uri, self.name)
        for key, value in (champion.tags | {EXPORTED_TAG: version_number(champion)}).items():
            self.client.set_model_version_tag(self.name, version.version, key, value)
        description = f"The ONNX export of version {champion.version}.\n\n{champion.description or ''}".strip()
        self.client.update_model_version(self.name, version.version, description)
        self.crown(version_number(version), champion)
        return self.client.get_model_version(self.name, version.version), champion

    def crown(self, new: str, champion: ModelVersion | None) -> None:
        """Make a version champion, so that `rollback` returns to the one before it."""
        if champion:
            self.set_former_champions([*self.read_former_champions(), version_number(champion)])
        self.client.set_registered_model_alias(self.name, CHAMPION, new)

    def rollback(self) -> tuple[ModelVersion, ModelVersion]:
        """Make the former champion champion again; return it and the one it replaces. UserError when there is none."""
        champion = self.find_by_alias(CHAMPION)
        if champion is None:
            raise UserError(f"{self.name} has no champion; python -m stages.promote makes the challenger champion.")
        existing = {version_number(version) for version in self.list_versions()}
        former = [version for version in self.read_former_champions() if version in existing]
        while former[-1:] == [version_number(champion)]:  # an interrupted promotion added the present champion
            former.pop()
        if not former:
            raise UserError(f"{self.name} had no champion before version {champion.version}, so none to return to.")
        self.client.set_registered_model_alias(self.name, CHAMPION, former[-1])
        self.set_former_champions(former[:-1])
        return self.client.get_model_version(self.name, former[-1]), champion

    def read_former_champions(self) -> list[str]:
        """The versions that were champion before the present one, the latest last."""
        return json.loads(self.client.get_registered_model(self.name).tags.get(FORMER_CHAMPIONS_TAG, "[]"))

    def set_former_champions(self, versions: list[str]) -> None:
        self.client.set_registered_model_tag(self.name, FORMER_CHAMPIONS_TAG, json.dumps(versions))
