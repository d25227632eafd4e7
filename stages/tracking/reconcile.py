"""Reconciles MLflow with DVC: finds the run of each experiment, compares the two, and restores missing runs."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from stages.tracking.dvc_experiments import ARTIFACTS, Experiment
from stages.tracking.journal import Journal
from stages.tracking.mlflow_store import find_runs, find_runs_of_model, is_stored_as
from stages.tracking.provenance import RESTORED_FROM_TAG, make_source_tags
from stages.tracking.run import log_datasets, log_history, log_results, log_weights, stringify

CLASSIFIER = "models/classifier"


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
