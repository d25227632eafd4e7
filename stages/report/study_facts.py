"""What the page of a study says about its data, model and machine."""

import platform
from importlib.metadata import version
from typing import Any

from stages.report.html import describe_hardware
from stages.report.rendering import name_source

PACKAGES = ("torch", "transformers", "scikit-learn", "optuna")


def describe_study(
    params: dict[str, Any], source: dict[str, Any], statistics: dict[str, Any], commit: str
) -> dict[str, str]:
    """Facts by their name: `params` are those of `Params.flat`, `source` is that of `data/raw/dataset.json`."""
    rows = {split: values["rows"] for split, values in statistics["splits"].items()}
    hardware = describe_hardware()
    versions = {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return {
        "Data": name_source(source),
        "Rows": f"{rows['train']:,} to train, {rows['validation']:,} to validate",
        "Model": f"{params['model.name']}, {params['train.freeze_layers']} layers frozen",
        "Seed": f"{params['seed']}"
        if params["train.seed"] is None
        else f"{params['seed']}, in training {params['train.seed']}",
        "Commit": commit or "none",
        "Processor": f"{hardware['Processor']}, computes as {hardware['Computes']}",
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }
