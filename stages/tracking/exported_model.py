"""The exported classifier in MLflow: a second model of the run that trained it."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from stages.core.errors import UserError
from stages.tracking.mlflow_store import (
    EXPORTED,
    NotReachedError,
    connect,
    describe_error,
    find_runs_of_model,
)
from stages.tracking.model_logging import log_classifier
from stages.tracking.store_uri import describe_store, read_store_uri

# All that the served model needs: neither torch nor transformers.
PACKAGES = ("mlflow", "numpy", "onnxruntime", "safetensors", "tokenizers")


def log_exported(folder: Path, experiment: str, run_key: str, takes_pairs: bool, has_several_labels: bool) -> str:
    """Log the model of a folder that `stages.export` made, beside earlier ones; return its URI.

    `run_key` is the one in `models/mlflow_run.json`. UserError when MLflow does not answer, or has no such run.
    """
    uri = read_store_uri()
    try:
        client = connect(uri)
        found = client.get_experiment_by_name(experiment)
        runs = find_runs_of_model(client, found.experiment_id, run_key) if found else []
        if not runs:
            raise UserError(
                f"MLflow at {describe_store(uri)} has no run {run_key}, which trained the model; "
                "`python -m stages.sync` sends runs that were not sent yet."
            )
        model_id = log_to_run(client, runs[0], folder, takes_pairs, has_several_labels)
    except (NotReachedError, MlflowException) as error:
        raise UserError(f"MLflow at {describe_store(uri)}: {describe_error(error)}") from error
    return f"models:/{model_id}"


def log_to_run(client: MlflowClient, run: Run, folder: Path, takes_pairs: bool, has_several_labels: bool) -> str:
    """Log the model to a run, whose status and end stay as they are; return the model's id."""
    status, end = run.info.status, run.info.end_time
    try:
        return log_classifier(run.info.run_id, EXPORTED, folder, takes_pairs, has_several_labels, PACKAGES)
    finally:
        if end:
            client.set_terminated(run.info.run_id, status, end)
        else:
            client.update_run(run.info.run_id, status)
