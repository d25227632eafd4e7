"""MLflow's side: sends journals to the tracking store, each event once and in order."""

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.entities import DatasetInput, InputTag, LoggedModel, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.types import ColSpec, Schema
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from stages.core.errors import UserError
from stages.core.files import main_checkout, read_json
from stages.tracking.experiment_view import page_tags
from stages.tracking.journal import Event, Journal

OUR_CODE = Path(__file__).parent.parent
KEY = "pipeline.run"  # the tag that holds a journal's key
METRICS_AT_ONCE = 500  # MLflow takes 1,000
REFUSED, LOST = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"  # how a store answers


class NotSentError(Exception):
    """The store does not take what is sent; it stays in the journal."""


class NotReachedError(NotSentError):
    """The store cannot be reached, or does not work."""


def connect(uri: str | None) -> MlflowClient:
    """Point MLflow at a store; None is SQLite under `mlruns/` of the main checkout, which is made when missing.

    DVC runs queued experiments in copies of the checkout, several at once: with write-ahead logging they read while
    one writes, and MLflow lets writers wait for each other. NotReachedError when there is none.
    """
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # of single files, in the midst of our lines
    folder = main_checkout() / "mlruns"
    try:
        folder.mkdir(exist_ok=True)
        with FileLock(folder / ".lock"):  # two processes cannot make the tables at once
            if uri is None:
                with closing(sqlite3.connect(folder / "mlflow.db")) as database:
                    database.execute("PRAGMA journal_mode=WAL")
            mlflow.set_tracking_uri(uri or f"sqlite:///{folder / 'mlflow.db'}")
            client = MlflowClient()
            client.search_experiments(max_results=1)
    except Exception as error:
        raise NotReachedError(reason(error)) from error
    return client


def reason(error: Exception) -> str:
    """In one line, what went wrong."""
    if isinstance(error.__context__, requests.RequestException):
        return f"it cannot be reached, {type(error.__context__).__name__}"
    said = (str(error).strip().splitlines() or [""])[0][:300]
    expected = isinstance(error, (MlflowException, UserError, NotSentError)) and said
    return said if expected else f"{type(error).__name__}: {said}"


def find_experiment(client: MlflowClient, name: str) -> str:
    """The id of an experiment, which is made when it is missing; UserError when it was deleted."""
    folder = main_checkout() / "mlruns"
    with FileLock(folder / ".lock"):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            local = mlflow.get_tracking_uri() == f"sqlite:///{folder / 'mlflow.db'}"
            client.create_experiment(name, (folder / "artifacts").as_uri() if local else None)
            experiment = client.get_experiment_by_name(name)
    if experiment.lifecycle_stage == "deleted":
        raise UserError(f"its experiment '{name}' (tracking.experiment) was deleted; restore it or choose another name")
    for key, value in page_tags(experiment.experiment_id).items():
        if key not in experiment.tags:  # it may be the user's own
            client.set_experiment_tag(experiment.experiment_id, key, value)
    return experiment.experiment_id


def find_runs(client: MlflowClient, experiment_id: str, tag: str, value: str) -> list[Run]:
    """The runs with a tag, the first one first."""
    order = ["attributes.start_time", "attributes.run_id"]
    return list(client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", order_by=order))


def send(journal: Journal) -> int:
    """Send what was not sent and return the number of events; NotSentError when the store does not take them all.

    What was taken without an answer is sent again, which does no harm: MLflow keeps equal points, params, tags and
    files once, and runs and models are looked up first. What the store refuses for good is said and left out. A store
    that was made anew and knows nothing of the run is told all the next time.
    """
    count, client = 0, None
    try:
        for events, end in together(journal.read(journal.state["sent"])):
            client = client or connect(journal.head["uri"])
            try:
                SENDERS[events[0]["kind"]](client, journal, events)
            except MlflowException as error:
                if error.error_code != REFUSED:
                    raise
                print(f"refused by MLflow: {events}: {error}")
            journal.set_state(sent=end, error=None)
            count += len(events)
    except Exception as error:  # whatever it is, the run's later stages and other runs must not end by it
        lost = getattr(error, "error_code", None) == LOST
        with suppress(OSError):
            journal.set_state(error=reason(error), **({"sent": 0, "run_id": None} if lost else {}))
        raise (error if isinstance(error, NotReachedError) else NotSentError(reason(error))) from error
    return count


def together(events: Iterator[tuple[Event, int]]) -> Iterator[tuple[list[Event], int]]:
    """Metrics that follow each other as one group, every other event alone; with the byte behind the last."""
    group, end = [], 0
    for event, behind in events:
        if group and (event["kind"] != "metrics" or sum(len(one["metrics"]) for one in group) > METRICS_AT_ONCE):
            yield group, end
            group = []
        if event["kind"] == "metrics":
            group.append(event)
        else:
            yield [event], behind
        end = behind
    if group:
        yield group, end


def send_run(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    (event,) = events
    experiment_id = find_experiment(client, event["experiment"])
    if not find_runs(client, experiment_id, KEY, journal.key):
        new = client.create_run(experiment_id, event["time"], event["tags"] | {KEY: journal.key}, event["name"])
        client.update_run(new.info.run_id, "SCHEDULED")  # until a stage says that it is RUNNING
    # A request that was given up may have made one too.
    run, *others = find_runs(client, experiment_id, KEY, journal.key)
    for other in others:
        client.delete_run(other.info.run_id)
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
    tested = what_was_tested(client, journal) if any(key.startswith("test/") for key, *_ in points) else {}
    metrics = [Metric(*point, **(tested if point[0].startswith("test/") else {})) for point in points]
    client.log_batch(journal.run_id, metrics=metrics)


def what_was_tested(client: MlflowClient, journal: Journal) -> dict[str, str]:
    """The run's model and test split, by which MLflow's page of models shows what each of them reached."""
    run = client.get_run(journal.run_id)
    models = ready_models(client, run)
    tests = [one.dataset for one in run.inputs.dataset_inputs if one.dataset.name == "test"]
    if not models or not tests:
        return {}
    return {"model_id": models[0].model_id, "dataset_name": "test", "dataset_digest": tests[0].digest}


def ready_models(client: MlflowClient, run: Run) -> list[LoggedModel]:
    """The models that a run has logged to their end."""
    return [model for model in logged_models(client, run) if model.status == "READY"]


def logged_models(client: MlflowClient, run: Run) -> list[LoggedModel]:
    return client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")


def send_datasets(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    (event,) = events
    schema, inputs = Schema([ColSpec("string", column) for column in event["columns"]]), []
    for split, digest in event["digests"].items():
        source = LocalArtifactDatasetSource(f"data/raw/{split}.parquet")
        dataset = MetaDataset(source, name=split, digest=digest[:36], schema=schema)  # as long as MLflow allows
        entity = dataset._to_mlflow_entity()
        entity._profile = json.dumps({"num_rows": event.get("rows", {}).get(split)})
        inputs.append(DatasetInput(entity, [InputTag(MLFLOW_DATASET_CONTEXT, split)]))
    client.log_inputs(journal.run_id, inputs)


def send_artifact(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    path = journal.folder / events[0]["path"]
    if path.is_dir():
        client.log_artifacts(journal.run_id, str(path), path.name)
    else:
        client.log_artifact(journal.run_id, str(path))


def send_model(client: MlflowClient, journal: Journal, events: list[Event]) -> None:
    """Log the classifier so that `mlflow.pyfunc.load_model(...).predict([text, ...])` answers with label names.

    A classifier of pairs takes `[{"text": ..., "text_pair": ...}, ...]`. What it takes to answer as `evaluate` does,
    cleaning included, is logged beside it as code of ours.
    """
    import pandas as pd
    from mlflow import pyfunc

    for model in logged_models(client, client.get_run(journal.run_id)):
        if model.status == "READY":
            return
        client.delete_logged_model(model.model_id)  # of a request that was given up
    example: list[Any] = ["The plot is thin, but I laughed all the way through."]
    if "text_pair" in events[0]["columns"]:
        example = [{"text": example[0], "text_pair": "It is a comedy."}]
    folder = journal.folder / events[0]["path"]
    label = next(iter(read_json(folder / "config.json", ["id2label"])["id2label"].values()))
    answer = pd.DataFrame({"label": [label], "probability": [0.9], "truncated": [False]})
    mlflow.start_run(journal.run_id)
    try:
        pyfunc.log_model(
            name="classifier",
            python_model=str(OUR_CODE / "inference" / "served_model.py"),
            code_paths=[str(OUR_CODE)],
            artifacts={"classifier": str(folder)},
            model_config={"precision": "auto"},
            signature=infer_signature(example, answer),
            input_example=example,
            tags={"mlflow.source.name": "dvc.yaml"},
            pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "torch", "transformers")],
        )
    finally:
        mlflow.end_run("RUNNING")


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
}
