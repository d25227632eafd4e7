"""Sends journals to MLflow's tracking store, each event once and in order."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.types import ColSpec, Schema
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from stages.core.files import read_json
from stages.core.problem_type import MULTI_LABEL
from stages.core.secrets import redact
from stages.tracking.journal import Event, Journal
from stages.tracking.mlflow_store import (
    CLASSIFIER,
    INVALID_VALUE,
    NOT_FOUND,
    NotReachedError,
    NotSentError,
    connect,
    describe_error,
    find_experiment,
    find_logged_models,
    find_ready_models,
    find_runs,
)  # fmt: skip
from stages.tracking.model_logging import log_classifier
from stages.tracking.nested_runs import send_trial
from stages.tracking.provenance import KEY_TAG

MAX_METRICS = 500  # in one request; MLflow accepts 1,000
MAX_DIGEST = 36  # characters of a data set's digest that MLflow accepts


def send(journal: Journal) -> int:
    """Send the unsent events and return their number; NotSentError when the store does not accept all of them.

    Events that the store accepted without answering are sent again. That is harmless: MLflow stores equal points,
    params, tags and files once, and runs and models are looked up first. Events that the store will never accept are
    printed and skipped; without its first event, all of a run's. A store that was created anew and lacks the run gets
    all of its events the next time.
    """
    count, client = 0, None
    try:
        for events, end in group_metrics(journal.read(journal.state["sent"])):
            client = client or connect(journal.start_event["uri"])
            if events[0]["kind"] == "run" or not journal.is_refused:
                send_accepted(client, journal, events)
            journal.set_state(sent=end, error=None)
            count += len(events)
    except Exception as error:  # no error of one run may end its later stages, or stop other runs
        is_lost = getattr(error, "error_code", None) == NOT_FOUND
        with suppress(OSError):
            journal.set_state(error=describe_error(error), **({"sent": 0, "run_id": None} if is_lost else {}))
        raise (error if isinstance(error, NotReachedError) else NotSentError(describe_error(error))) from error
    return count


def send_accepted(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    """Send one event, or a group of metrics, without those values that the store will never accept."""
    try:
        SENDERS[events[0]["kind"]](client, journal, events)
    except MlflowException as error:
        if error.error_code != INVALID_VALUE:
            raise
        parts = split(events)
        for part in parts:
            send_accepted(client, journal, part)
        if not parts:
            print(redact(f"refused by MLflow: {events}: {error}"))


def split(events: list[Event]) -> list[list[Event]]:
    """The events alone, or the values of one event alone; nothing when there is one value, or none to divide."""
    if len(events) > 1:
        return [[event] for event in events]
    (event,) = events
    values = event.get(event["kind"])
    if not isinstance(values, dict) or len(values) < 2:
        return []
    return [[event | {event["kind"]: {name: value}}] for name, value in values.items()]


def group_metrics(events: Iterator[tuple[Event, int]]) -> Iterator[tuple[list[Event], int]]:
    """Yield consecutive metrics as one group, for one request, and other events alone; each with its end in bytes."""
    group: list[Event] = []
    group_end = 0
    for event, end in events:
        if group and (event["kind"] != "metrics" or sum(len(one["metrics"]) for one in group) > MAX_METRICS):
            yield group, group_end
            group = []
        if event["kind"] == "metrics":
            group.append(event)
        else:
            yield [event], end
        group_end = end
    if group:
        yield group, group_end


def send_run(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    (event,) = events
    experiment_id = find_experiment(client, event["experiment"])
    if not find_runs(client, experiment_id, KEY_TAG, journal.key):
        new = client.create_run(experiment_id, event["time"], event["tags"] | {KEY_TAG: journal.key}, event["name"])
        client.update_run(new.info.run_id, "SCHEDULED")  # until a stage logs RUNNING
    # An earlier request that timed out here may have created a run in the store too.
    run, *duplicates = find_runs(client, experiment_id, KEY_TAG, journal.key)
    for duplicate in duplicates:
        client.delete_run(duplicate.info.run_id)
    journal.set_state(run_id=run.info.run_id)


def send_name(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    client.update_run(journal.run_id, name=events[0]["name"])
    send_tags(client, journal, events)


def send_tags(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    client.log_batch(journal.run_id, tags=[RunTag(*item) for item in events[0]["tags"].items()])


def send_params(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    client.log_batch(journal.run_id, params=[Param(*item) for item in events[0]["params"].items()])


def send_metrics(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    points = [(*item, event["time"], event["step"]) for event in events for item in event["metrics"].items()]
    model = find_tested_model(client, journal) if any(name.startswith("test/") for name, *_ in points) else {}
    metrics = [Metric(*point, **(model if point[0].startswith("test/") else {})) for point in points]
    client.log_batch(journal.run_id, metrics=metrics)


def find_tested_model(client: MlflowClient, journal: Journal) -> dict[str, Any]:
    """Arguments of `Metric` that name the run's model and test split, for MLflow's page of models; else nothing."""
    run = client.get_run(journal.run_id)
    models = find_ready_models(client, run)
    inputs = run.inputs.dataset_inputs if run.inputs else []
    tests = [one.dataset for one in inputs if one.dataset.name == "test"]
    if not models or not tests:
        return {}
    return {"model_id": models[0].model_id, "dataset_name": "test", "dataset_digest": tests[0].digest}


def send_datasets(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    (event,) = events
    schema = Schema([ColSpec("string", column) for column in event["columns"]])
    inputs = []
    for split, digest in event["digests"].items():
        dataset = Dataset(
            name=split,
            digest=digest[:MAX_DIGEST],
            source_type="local",
            source=json.dumps({"uri": f"data/raw/{split}.parquet"}),
            schema=json.dumps({"mlflow_colspec": schema.to_dict()}),
            profile=json.dumps({"num_rows": event.get("rows", {}).get(split)}),
        )
        inputs.append(DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, split)]))
    client.log_inputs(journal.run_id, inputs)


def send_artifact(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    path = journal.folder / events[0]["path"]
    if path.is_dir():
        client.log_artifacts(journal.run_id, str(path), path.name)
    else:
        client.log_artifact(journal.run_id, str(path))


def send_model(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    """Log the classifier, which takes pairs of texts where the data have them."""
    for model in find_logged_models(client, client.get_run(journal.run_id)):
        if model.status == "READY":
            return
        client.delete_logged_model(model.model_id)  # incomplete, of an earlier request that timed out
    folder = journal.folder / events[0]["path"]
    config = read_json(folder / "config.json", ["id2label"])
    log_classifier(
        journal.run_id,
        CLASSIFIER,
        folder,
        takes_pairs="text_pair" in events[0]["columns"],
        has_several_labels=config.get("problem_type") == MULTI_LABEL,
        packages=("mlflow", "torch", "transformers"),
        precision=find_precision(journal),
    )


def find_precision(journal: Journal) -> str:
    """In which precision the model was evaluated, so that it answers as it was measured."""
    params = journal.find_events("params")
    return params[0]["params"].get("evaluate.precision", "auto") if params else "auto"


def send_status(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    status, time = events[0]["status"], events[0]["time"]
    if status in ("RUNNING", "PAUSED"):
        client.update_run(journal.run_id, "SCHEDULED" if status == "PAUSED" else status)
    else:
        client.set_terminated(journal.run_id, status, time)


SENDERS: dict[str, Callable[[MlflowClient, Journal, list[Event]], None]] = {
    "run": send_run,
    "name": send_name,
    "tags": send_tags,
    "params": send_params,
    "metrics": send_metrics,
    "datasets": send_datasets,
    "artifact": send_artifact,
    "model": send_model,
    "status": send_status,
    "trial": send_trial,
}
