"""The MLflow side of a pipeline run: one run, opened by `train` and completed by `evaluate`."""

import logging
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from filelock import FileLock
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.types import ColSpec, Schema
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, pipeline

from stages.lib.errors import UserError
from stages.lib.files import main_checkout
from stages.lib.params import Tracking

# What the pipeline itself rewrites; changes there do not make a commit "dirty".
OWN_FILES = (":!dvc.lock", ":!metrics")


def connect(tracking: Tracking) -> str:
    """Point MLflow at its store and return the experiment's id, creating what is missing.

    The store is SQLite under `mlruns/` of the main checkout, since DVC runs queued experiments in copies of it;
    `MLFLOW_TRACKING_URI` wins. A lock lets only one process create database and experiment.
    """
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # what it says comes as an exception too
    folder = main_checkout() / "mlruns"
    folder.mkdir(exist_ok=True)
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri or f"sqlite:///{folder / 'mlflow.db'}")
    with usable(), FileLock(folder / ".lock"):
        experiment = mlflow.get_experiment_by_name(tracking.experiment)
        if experiment is None:
            artifacts = None if uri else (folder / "artifacts").as_uri()
            return mlflow.create_experiment(tracking.experiment, artifacts)
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"tracking.experiment: '{tracking.experiment}' was deleted in MLflow; restore it or choose another name."
        )
    return experiment.experiment_id


@contextmanager
def usable() -> Iterator[None]:
    """UserError when MLflow's store cannot be reached, or not be written since the disk is full."""
    try:
        yield
    except MlflowException as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"MLflow at {mlflow.get_tracking_uri()} cannot be used: {reason}") from None


@contextmanager
def open_run(tracking: Tracking, params: dict[str, Any], tags: dict[str, str]) -> Iterator[mlflow.ActiveRun]:
    """Start the run of this pipeline run; when the block ends well it stays RUNNING, for `evaluate` to complete."""
    experiment_id = connect(tracking)
    with usable():
        run = mlflow.start_run(
            experiment_id=experiment_id, run_name=run_name(), tags=tags, log_system_metrics=tracking.system_metrics
        )
        with closing("RUNNING"):
            mlflow.log_params(params)
            yield run


@contextmanager
def resume_run(
    tracking: Tracking, run_id: str, params: dict[str, Any], tags: dict[str, str]
) -> Iterator[mlflow.ActiveRun]:
    """Continue a run; when the block ends well it is FINISHED.

    A run of its own is opened, tagged with the one that trained the model, when that one is FINISHED already (this
    pipeline run did not train, only evaluates anew) or is not in this store.
    """
    connect(tracking)
    if status_of(run_id) in ("FINISHED", None):
        with open_run(tracking, params, tags | {"train.run_id": run_id}) as run, closing("FINISHED"):
            yield run
    else:
        system_metrics = tracking.system_metrics
        with usable(), mlflow.start_run(run_id=run_id, log_system_metrics=system_metrics) as run, closing("FINISHED"):
            yield run


def status_of(run_id: str) -> str | None:
    """The status of a run; None when the store lacks it."""
    try:
        return mlflow.get_run(run_id).info.status
    except MlflowException:
        return None


@contextmanager
def closing(status: str) -> Iterator[None]:
    """End the active run with `status`, or with KILLED on Ctrl-C and FAILED on any other exception."""
    try:
        yield
    except KeyboardInterrupt:
        mlflow.end_run("KILLED")
        raise
    except BaseException:
        mlflow.end_run("FAILED")
        raise
    mlflow.end_run(status)


def run_name() -> str:
    """DVC's name of the experiment, else the commit."""
    return os.environ.get("DVC_EXP_NAME") or f"repro-{git('rev-parse', '--short', 'HEAD') or 'no-commit'}"


def provenance(statistics: dict[str, Any]) -> dict[str, str]:
    """Tags by which a run is found from a commit, a DVC experiment or a data set, and the other way round."""
    baseline = os.environ.get("DVC_EXP_BASELINE_REV")
    tags = {
        "git.commit": baseline or git("rev-parse", "HEAD"),
        "git.dirty": str(bool(git("status", "--porcelain", "--untracked-files=no", "--", ".", *OWN_FILES))).lower(),
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.exp_baseline_rev": baseline or "",
        "data.raw_sha256": statistics["raw_sha256"],
        "data.tokenized_sha256": statistics["tokenized_sha256"],
    }
    return {key: value for key, value in tags.items() if value}


def git(*arguments: str) -> str:
    """What git prints, or nothing outside of a repository."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


class RunLogger(TrainerCallback):
    """Sends what Trainer logs to the active run, grouped as `train/...` and `validation/...` by step."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        names = {key: name for key in logs if (name := grouped(key))}
        mlflow.log_metrics({name: float(logs[key]) for key, name in names.items()}, step=state.global_step)


def grouped(key: str) -> str | None:
    """The MLflow name of one of Trainer's logged keys; None for those that are no curve."""
    if key in ("loss", "learning_rate", "grad_norm", "epoch"):
        return f"train/{key}"
    if key.startswith("eval_") and not key.endswith(("_runtime", "_per_second", "_time")):
        return f"validation/{key.removeprefix('eval_')}"
    return None


def log_results(metrics: dict[str, float], timings: dict[str, float], artifacts: list[Path]) -> None:
    """Log test metrics as `test/...`, timings such as `train_seconds` as `time/...`, and files and folders."""
    mlflow.log_metrics({f"test/{name}": value for name, value in metrics.items()})
    mlflow.log_metrics({f"time/{name}": value for name, value in timings.items()})
    for path in artifacts:
        if path.is_file():  # there is no dvc.lock when a stage is run by hand
            mlflow.log_artifact(str(path))
        for file in sorted(path.glob("[!.]*")):
            mlflow.log_artifact(str(file), path.name)


def log_frozen(report: dict[str, float]) -> None:
    """Log as `frozen/...` whether outputs of the frozen layers were found (1) or computed (0), seconds and bytes."""
    mlflow.log_metrics({f"frozen/{name}": value for name, value in report.items()})


def log_datasets(statistics: dict[str, Any]) -> None:
    """Log each split of `data/raw` as an input of the active run, and as metrics what `download` had to drop."""
    schema = Schema([ColSpec("string", column) for column in statistics["columns"]])
    for split, values in statistics["splits"].items():
        source = LocalArtifactDatasetSource(f"data/raw/{split}.parquet")
        digest = values["raw_sha256"][:36]  # as long as MLflow allows
        mlflow.log_input(MetaDataset(source, name=split, digest=digest, schema=schema), context=split)
    dropped: Counter[str] = Counter()
    for reasons in statistics["dropped"].values():
        dropped.update(reasons)
    mlflow.log_metric("data/dropped_rows", dropped.total())
    for reason, count in dropped.items():
        mlflow.log_metric("data/dropped/" + re.sub(r"[^\w .-]", "", reason), count)


def log_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, columns: list[str]) -> None:
    """Log the classifier so that `mlflow.pyfunc.load_model(...).predict([text, ...])` answers with label names.

    A classifier of pairs takes `[{"text": ..., "text_pair": ...}, ...]`.
    """
    import mlflow.transformers

    logging.getLogger("mlflow.transformers").setLevel(logging.ERROR)  # it warns that a local folder has no hub page
    example: list[Any] = ["The plot is thin, but I laughed all the way through."]
    if "text_pair" in columns:
        example = [{"text": example[0], "text_pair": "It is a comedy."}]
    answer = pd.DataFrame({"label": [model.config.id2label[0]], "score": [0.9]})
    mlflow.transformers.log_model(
        pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu"),
        name="classifier",
        signature=infer_signature(example, answer),
        input_example=example,
        model_config={"truncation": True},  # longer texts are cut at the length that the model was trained with
        pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow", "torch", "transformers")],
    )
