"""Reconciles MLflow with DVC: finds the run of each experiment, compares the two, and restores missing runs."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from stages.core.errors import UserError
from stages.core.files import main_checkout
from stages.tracking.dvc_experiments import ARTIFACTS, Experiment, list_experiments
from stages.tracking.journal import Journal
from stages.tracking.mlflow_sender import send
from stages.tracking.mlflow_store import (
    NotReachedError,
    NotSentError,
    connect,
    describe_error,
    find_runs,
    find_runs_of_model,
    is_stored_as,
)
from stages.tracking.provenance import RESTORED_FROM_TAG, make_source_tags
from stages.tracking.run import log_datasets, log_history, log_results, log_weights, stringify
from stages.tracking.store_uri import describe_store

CLASSIFIER = "models/classifier"


def reconcile_all(uri: str | None, check: bool) -> None:
    """Compare each experiment with its run; UserError when some disagree."""
    try:
        experiments = list_experiments()
    except DvcException as error:
        raise UserError(f"DVC: {error}") from error
    with FileLock(main_checkout() / "mlruns" / "sync.lock"):  # otherwise two processes would restore the same run
        agreements = [try_to_reconcile(experiment, uri, check) for experiment in experiments]
    if not all(agreements):
        raise UserError(f"{agreements.count(False)} of {len(agreements)} DVC experiments do not agree with MLflow")


def try_to_reconcile(experiment: Experiment, uri: str | None, check: bool) -> bool:
    """Return whether an experiment agrees with its run; one that cannot be read does not stop the others."""
    try:
        return reconcile_experiment(experiment, uri, check)
    except NotReachedError as error:
        raise UserError(f"MLflow at {describe_store(uri)}: {error}") from error
    except (UserError, NotSentError, MlflowException, DvcException, LookupError, ValueError, OSError) as error:
        print(f"{experiment}: cannot be compared: {describe_error(error)}")
        return False


def reconcile_experiment(experiment: Experiment, uri: str | None, check: bool) -> bool:
    """Print how a DVC experiment and its run differ, and return whether they agree; restore a run that is missing.

    With `check` nothing is restored.
    """
    if not experiment.is_finished:
        print(f"{experiment}: not finished, or not in DVC's cache (dvc pull downloads it)")
        return True
    client = connect(uri)
    run = find_run(experiment, client)
    action = "agrees with run"
    if run is None and not check:
        journal = restore_run(experiment, uri)
        with suppress(FileNotFoundError), journal.lock_for_sending():  # another process may have sent all of it
            send(journal)
        run = find_run(experiment, client)
        action = "restored from DVC as run"
    if run is None:
        print(f"{experiment}: differs\n  MLflow has no run of it; python -m stages.sync restores it")
        return False
    differences = find_differences(experiment, run)
    if differences:
        print("\n  ".join([f"{experiment}: differs", *differences]))
    else:
        print(f"{experiment}: {action} {run.info.run_id}")
    return not differences


def find_run(experiment: Experiment, client: MlflowClient) -> Run | None:
    """The finished run of a DVC experiment, by its name and commit; of a commit, by the key in its outputs.

    Of several, the newest that agrees with DVC, else the newest.
    """
    found = client.get_experiment_by_name(experiment.params.tracking.experiment)
    if found is None:
        return None
    if experiment.name:
        runs = find_runs(client, found.experiment_id, "dvc.exp_name", experiment.name)
        runs = [run for run in runs if run.data.tags.get("dvc.exp_baseline_rev") == experiment.baseline]
    else:
        runs = find_runs_of_model(client, found.experiment_id, experiment.key)
    finished = [run for run in runs if run.info.status == "FINISHED"]
    return max(finished, key=lambda run: (not find_differences(experiment, run), run.info.start_time), default=None)


def find_differences(experiment: Experiment, run: Run) -> list[str]:
    """The params, metrics and data hashes of the experiment that its run lacks, or has with another value."""
    statistics = experiment.statistics
    ours: dict[str, Any] = {f"param {key}": value for key, value in stringify(experiment.params.flat()).items()}
    ours |= {f"metric {key}": float(value) for key, value in experiment.metrics.items()}
    ours |= {f"tag data.{key}": statistics[key] for key in ("raw_sha256", "tokenized_sha256")}
    theirs: dict[str, Any] = {f"param {key}": value for key, value in stringify(run.data.params).items()}
    theirs |= {f"metric {key}": value for key, value in run.data.metrics.items()}
    theirs |= {f"tag {key}": value for key, value in run.data.tags.items()}
    unequal = {key: value for key, value in ours.items() if not is_stored_as(value, theirs.get(key))}
    return [f"{key}: {value} in DVC, {theirs.get(key)} in MLflow" for key, value in unequal.items()]


def restore_run(experiment: Experiment, uri: str | None) -> Journal:
    """Write the journal of a run that MLflow lacks, with tags that say so: no stage ran here for this experiment."""
    params = experiment.params
    statistics = experiment.statistics
    # All is read before the journal is created: what cannot be read must not leave a run that is half there.
    training, validation = experiment.read_curve("training"), experiment.read_curve("validation")
    metrics = experiment.metrics
    train_metrics = experiment.read_json("metrics/train.json")
    timings = experiment.timings
    baseline = experiment.baseline if experiment.name else ""
    tags = make_source_tags(experiment.baseline, experiment.name, baseline, statistics, params.flat())
    tags |= {"restored": "true", RESTORED_FROM_TAG: experiment.key}
    with tempfile.TemporaryDirectory() as folder:
        artifacts = [experiment.download(path, Path(folder)) for path in ARTIFACTS]
        with suppress(OSError):  # the weights may not have been pulled
            for path in sorted(experiment.files.glob(f"{CLASSIFIER}/**/*.safetensors")):  # model.safetensors is last
                experiment.download(path, Path(folder))
        run = Journal.create(uri=uri, experiment=params.tracking.experiment, name=str(experiment), tags=tags)
        try:
            run.log_event("params", params=stringify(params.flat()))
            log_datasets(run, statistics)
            log_history(run, training, validation)
            log_weights(run, Path(folder, CLASSIFIER), train_metrics)
            run.log_metrics(metrics)
            log_results(run, {}, timings, artifacts)
        except BaseException:
            shutil.rmtree(run.folder)
            raise
    run.log_event("status", status="FINISHED")
    return run
