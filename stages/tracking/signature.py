"""The signature of the served model: what MLflow shows and checks of its inputs and answers."""

from typing import Any

from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array, Map


def make_signature(example: list[Any], has_several_labels: bool) -> ModelSignature:
    """What the served model takes, as in the example, and the fields of its answers."""
    label, probability = (Array(kind) if has_several_labels else kind for kind in (DataType.string, DataType.double))
    fields = {
        "label": label,
        "probability": probability,
        "scores": Map(DataType.double),
        "abstained": DataType.boolean,
        "truncated": DataType.boolean,
    }
    outputs = Schema([ColSpec(kind, name) for name, kind in fields.items()])
    return ModelSignature(inputs=infer_signature(example).inputs, outputs=outputs)
