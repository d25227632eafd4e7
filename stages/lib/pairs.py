"""DVC's experiments and MLflow's runs: which belong together, whether they say the same, and what MLflow lacks."""

import os
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from stages.lib.experiments import ARTIFACTS, Experiment
from stages.lib.journal import Journal
from stages.lib.store import KEY, find_experiment, find_runs
from stages.lib.tracking import log_datasets, log_results, tell_history

RESTORED_FROM = "restored.from"


def run_of(experiment: Experiment, client: MlflowClient) -> Run | None:
    """The finished run of a DVC experiment, by its name and commit; of a commit, by the key that it holds."""
    experiment_id = find_experiment(client, experiment.params.tracking.experiment)
    if experiment.name:
        runs = find_runs(client, experiment_id, "dvc.exp_name", experiment.name)
        runs = [run for run in runs if run.data.tags.get("dvc.exp_baseline_rev") == experiment.baseline]
    else:
        tags = (KEY, "train.run", RESTORED_FROM)
        runs = [run for tag in tags for run in find_runs(client, experiment_id, tag, experiment.key)]
    finished = [run for run in runs if run.info.status == "FINISHED"]
    return max(finished, key=lambda run: run.info.start_time, default=None)


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


def restore(experiment: Experiment) -> Journal:
    """Write the journal of a run that MLflow lacks, marked as restored: no stage ran here for this experiment."""
    params, statistics = experiment.params, experiment.statistics
    tags = {
        "git.commit": experiment.baseline,
        "mlflow.source.git.commit": experiment.baseline,
        "mlflow.source.name": "dvc.yaml",
        "dvc.exp_name": experiment.name,
        "dvc.exp_baseline_rev": experiment.baseline if experiment.name else "",
        "data.raw_sha256": statistics["raw_sha256"],
        "data.tokenized_sha256": statistics["tokenized_sha256"],
        "restored": "true",
        RESTORED_FROM: experiment.key,
    }
    run = Journal.create(
        uri=os.environ.get("MLFLOW_TRACKING_URI"),
        experiment=params.tracking.experiment,
        name=str(experiment),
        tags={key: value for key, value in tags.items() if value},
    )
    run.tell("params", params={key: str(value) for key, value in params.flat().items()})
    log_datasets(run, statistics)
    tell_history(run, *experiment.history)
    run.tell_metrics(experiment.metrics)
    with tempfile.TemporaryDirectory() as folder:
        paths = [experiment.fetch(path, Path(folder)) for path in ARTIFACTS]
        log_results(run, {}, experiment.timings, paths)
    run.tell("status", status="FINISHED")
    return run
