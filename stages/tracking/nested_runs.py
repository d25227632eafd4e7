"""Sends the trainings of a study to MLflow, as runs nested in that of the study."""

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from stages.tracking.journal import Event, Journal
from stages.tracking.mlflow_store import find_runs
from stages.tracking.provenance import KEY_TAG

VALUES_AT_ONCE = 500  # in one request; MLflow accepts 1,000 metrics
PARAMS_AT_ONCE = 100  # which MLflow accepts


def send_trial(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    """Create the nested run of a training, or complete that of an earlier request which timed out."""
    (event,) = events
    experiment_id = client.get_run(journal.run_id).info.experiment_id
    key = f"{journal.key}.{event['trial']}"
    found = find_runs(client, experiment_id, KEY_TAG, key)
    tags = event["tags"] | {KEY_TAG: key, MLFLOW_PARENT_RUN_ID: journal.run_id}
    run = found[0] if found else client.create_run(experiment_id, event["started"], tags, event["name"])
    params = [Param(*item) for item in event["params"].items()]
    for start in range(0, len(params), PARAMS_AT_ONCE):
        client.log_batch(run.info.run_id, params=params[start : start + PARAMS_AT_ONCE])
    metrics = [Metric(name, value, event["ended"], step) for name, value, step in event["points"]]
    for start in range(0, len(metrics), VALUES_AT_ONCE):
        client.log_batch(run.info.run_id, metrics=metrics[start : start + VALUES_AT_ONCE])
    client.set_terminated(run.info.run_id, "FINISHED", event["ended"])
