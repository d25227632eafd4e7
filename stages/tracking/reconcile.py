"""DVC's experiments and MLflow's runs: which belong together, whether they say the same, and what MLflow lacks."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from stages.tracking.dvc_experiments import ARTIFACTS, Experiment
from stages.tracking.journal import Journal
from stages.tracking.mlflow_sender import KEY, find_runs
from stages.tracking.provenance import origin
from stages.tracking.run import log_datasets, log_model, log_results, tell_history, texts

RESTORED_FROM, WEIGHTS = "restored.from", "models/classifier/model.safetensors"


def run_of(experiment: Experiment, client: MlflowClient) -> Run | None:
    """The finished run of a DVC experiment, by its name and commit; of a commit, by the key that it holds.

    Of several, the newest that says the same as DVC, else the newest.
    """
    found = client.get_experiment_by_name(experiment.params.tracking.experiment)
    if found is None:
        return None
    if experiment.name:
        runs = find_runs(client, found.experiment_id, "dvc.exp_name", experiment.name)
        runs = [run for run in runs if run.data.tags.get("dvc.exp_baseline_rev") == experiment.baseline]
    else:
        tags = (KEY, "train.run", RESTORED_FROM)
        runs = [run for tag in tags for run in find_runs(client, found.experiment_id, tag, experiment.key)]
    finished = [run for run in runs if run.info.status == "FINISHED"]
    return max(finished, key=lambda run: (not differences(experiment, run), run.info.start_time), default=None)


def differences(experiment: Experiment, run: Run) -> list[str]:
    """What DVC and MLflow say differently."""
    statistics = experiment.statistics
    ours = {f"param {key}": str(value) for key, value in experiment.params.flat().items()}
    ours |= {f"metric {key}": float(value) for key, value in experiment.metrics.items()}
    ours |= {f"tag data.{key}": statistics[key] for key in ("raw_sha256", "tokenized_sha256")}
    theirs = {f"param {key}": value for key, value in run.data.params.items()}
    theirs |= {f"metric {key}": value for key, value in run.data.metrics.items()}
    theirs |= {f"tag {key}": value for key, value in run.data.tags.items()}
    unequal = {key: value for key, value in ours.items() if theirs.get(key) != value}
    return [f"{key}: {value} in DVC, {theirs.get(key)} in MLflow" for key, value in unequal.items()]


def restore(experiment: Experiment, uri: str | None) -> Journal:
    """Write the journal of a run that MLflow lacks, marked as restored: no stage ran here for this experiment."""
    params, statistics = experiment.params, experiment.statistics
    curves, metrics, timings = experiment.history, experiment.metrics, experiment.timings
    parameters = experiment.json("metrics/train.json")
    baseline = experiment.baseline if experiment.name else ""
    tags = origin(experiment.baseline, experiment.name, baseline, statistics, params.flat())
    with tempfile.TemporaryDirectory() as folder:
        paths = [experiment.fetch(path, Path(folder)) for path in ARTIFACTS]
        with suppress(OSError):  # it may not have been pulled
            experiment.fetch(WEIGHTS, Path(folder))
        run = Journal.create(
            uri=uri,
            experiment=params.tracking.experiment,
            name=str(experiment),
            tags=tags | {"restored": "true", RESTORED_FROM: experiment.key},
        )
        try:
            run.tell("params", params=texts(params.flat()))
            log_datasets(run, statistics)
            tell_history(run, *curves)
            log_model(run, Path(folder, WEIGHTS), parameters)
            run.tell_metrics(metrics)
            log_results(run, {}, timings, paths)
        except BaseException:
            shutil.rmtree(run.folder)
            raise
    run.tell("status", status="FINISHED")
    return run
