"""MLflow's tracking store: the connection, its errors, and how experiments, runs and models are found in it."""

import logging
import math
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import mlflow
import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run
from mlflow.exceptions import MlflowException

from stages.core.errors import UserError
from stages.core.files import main_checkout
from stages.core.secrets import redact
from stages.tracking.experiment_view import make_view_tags
from stages.tracking.journal import is_same
from stages.tracking.provenance import KEY_TAG, RESTORED_FROM_TAG, TRAIN_RUN_TAG
from stages.tracking.store_uri import default_store_uri, find_artifact_root, resolve_store_uri, restore_secrets

INVALID_VALUE, NOT_FOUND = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"  # error codes of a store
CLASSIFIER, EXPORTED = "classifier", "classifier-onnx"  # names of the models of a run: that of torch, and its export


class NotSentError(Exception):
    """The store does not accept an event; the event stays in the journal."""


class NotReachedError(NotSentError):
    """The store cannot be reached, or does not work."""


def connect(uri: str | None) -> MlflowClient:
    """Point MLflow at a store; None is the default one, which is created when missing.

    DVC runs queued experiments in copies of the checkout, several at once: with write-ahead logging they read while
    one writes, and MLflow lets writers wait for each other. Raises NotReachedError when the store does not answer.
    """
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    # MLflow draws a progress bar for each file, in the middle of our own output.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    folder = main_checkout() / "mlruns"
    try:
        uri = restore_secrets(resolve_store_uri(uri) or default_store_uri())
        folder.mkdir(exist_ok=True)
        with FileLock(folder / ".lock"):  # two processes cannot create the tables at once
            if uri == default_store_uri():
                with closing(sqlite3.connect(folder / "mlflow.db")) as database:
                    database.execute("PRAGMA journal_mode=WAL")
            with keep_environment("MLFLOW_TRACKING_URI"):  # which MLflow changes, and the next store may need
                mlflow.set_tracking_uri(uri)
            client = MlflowClient()
            client.search_experiments(max_results=1)
    except Exception as error:
        raise NotReachedError(describe_error(error)) from error
    return client


@contextmanager
def keep_environment(name: str) -> Iterator[None]:
    """Give an environment variable at the end of the block the value that it had before."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def describe_error(error: Exception) -> str:
    """Say in one line what went wrong, without the secrets of URLs."""
    if isinstance(error.__context__, requests.RequestException):
        return f"it cannot be reached, {type(error.__context__).__name__}"
    message = redact((str(error).strip().splitlines() or [""])[0])[:300]
    is_expected = isinstance(error, (MlflowException, UserError, NotSentError)) and message
    return message if is_expected else f"{type(error).__name__}: {message}"


def find_experiment(client: MlflowClient, name: str) -> str:
    """The id of an experiment, which is created when it is missing; UserError when it was deleted."""
    with FileLock(main_checkout() / "mlruns" / ".lock"):
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            new_id = client.create_experiment(name, find_artifact_root(mlflow.get_tracking_uri()))
            experiment = client.get_experiment(new_id)
    if experiment.lifecycle_stage == "deleted":
        raise UserError(f"its experiment '{name}' (tracking.experiment) was deleted; restore it or choose another name")
    for key, value in make_view_tags(experiment.experiment_id).items():
        if key not in experiment.tags:  # otherwise the user may have changed it
            client.set_experiment_tag(experiment.experiment_id, key, value)
    return experiment.experiment_id


def find_runs(client: MlflowClient, experiment_id: str, tag: str, value: str) -> list[Run]:
    """The runs with a tag, oldest first."""
    order = ["attributes.start_time", "attributes.run_id"]
    # MLflow's filters cannot write a quote in a text: _ stands for any character, and the texts are compared here.
    pattern = re.sub(r"[^\w.-]", "_", value, flags=re.ASCII)
    found = client.search_runs([experiment_id], f"tags.`{tag}` LIKE '{pattern}'", order_by=order)
    return [run for run in found if run.data.tags.get(tag) == value]


def find_runs_of_model(client: MlflowClient, experiment_id: str, key: str) -> list[Run]:
    """The run that trained a model, then those that only evaluated it or were restored; `key` is that of the first."""
    tags = (KEY_TAG, TRAIN_RUN_TAG, RESTORED_FROM_TAG)
    return [run for tag in tags for run in find_runs(client, experiment_id, tag, key)]


def is_stored_as(value: Any, stored: Any) -> bool:
    """Whether a value is the one that MLflow has: its databases keep the largest number instead of an infinite one."""
    if isinstance(value, float) and math.isinf(value):
        return stored in (value, math.copysign(sys.float_info.max, value))
    return is_same(value, stored)


def find_logged_models(client: MlflowClient, run: Run, name: str = CLASSIFIER) -> list[LoggedModel]:
    """The models of a run that were logged under this name, complete or not."""
    found = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    return [model for model in found if model.name == name]


def find_ready_models(client: MlflowClient, run: Run, name: str = CLASSIFIER) -> list[LoggedModel]:
    """The models of a run that were logged completely under this name."""
    return [model for model in find_logged_models(client, run, name) if model.status == "READY"]
