"""A classifier as a model of MLflow, with the code that cleans and classifies texts as `evaluate` does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
from mlflow.models import utils as model_utils

from stages.core.request_limits import REQUEST_LIMITS
from stages.tracking.signature import make_signature

CODE = Path(__file__).parent.parent  # the package `stages`, which a served model needs


def log_classifier(
    run_id: str,
    name: str,
    folder: Path,
    takes_pairs: bool,
    has_several_labels: bool,
    packages: Sequence[str],
    precision: str = "auto",
) -> str:
    """Log a model folder so that `mlflow.pyfunc.load_model(...).predict([text, ...])` returns label names.

    A classifier of text pairs takes `[{"text": ..., "text_pair": ...}, ...]`. `packages` are all that the served model
    needs, each in the version that is installed here. The run is RUNNING afterwards. Returns the model's id.
    """
    # Imported here, because most senders log no model.
    from mlflow import pyfunc

    example: list[Any] = ["The plot is thin, but I laughed all the way through."]
    if takes_pairs:
        example = [{"text": example[0], "text_pair": "It is a comedy."}]
    mlflow.start_run(run_id)
    try:
        with skip_validation():
            info = pyfunc.log_model(
                name=name,
                python_model=str(CODE / "inference" / "served_model.py"),
                code_paths=[str(CODE)],
                artifacts={"classifier": str(folder)},
                model_config={"precision": precision, **REQUEST_LIMITS},
                signature=make_signature(example, has_several_labels),
                input_example=example,
                tags={"mlflow.source.name": "dvc.yaml"},
                pip_requirements=[f"{package}=={version(package)}" for package in packages],
            )
    finally:
        mlflow.end_run("RUNNING")
    return info.model_id or ""


@contextmanager
def skip_validation() -> Iterator[None]:
    """Let MLflow log a model without loading it and asking it for the answer to its example.

    That takes 5 seconds of CPU from the stage that runs beside it, and all that may come of it is a warning.
    """
    validate = model_utils._validate_serving_input
    model_utils._validate_serving_input = lambda **arguments: None
    try:
        yield
    finally:
        model_utils._validate_serving_input = validate
