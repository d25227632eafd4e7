"""What the page of a study says about its data, model and machine."""

import platform
from importlib.metadata import version
from typing import Any

from stages.core.files import read_json
from stages.core.git import query_git
from stages.core.paths import MANIFEST
from stages.report.html import describe_hardware
from stages.report.rendering import name_source

PACKAGES = ("torch", "transformers", "scikit-learn", "optuna")


def describe_study(params: dict[str, Any], statistics: dict[str, Any]) -> dict[str, str]:
    """Facts of a study of this checkout by their name; `params` are those of `Params.flat`."""
    rows = {split: values["rows"] for split, values in statistics["splits"].items()}
    hardware = describe_hardware()
    versions = {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return {
        "Data": name_source(read_json(MANIFEST, ["source"])["source"]),
        "Rows": f"{rows['train']:,} to train, {rows['validation']:,} to validate",
        "Model": f"{params['model.name']}, {params['train.freeze_layers']} layers frozen",
        "Seed": f"{params['seed']}"
        if params["train.seed"] is None
        else f"{params['seed']}, in training {params['train.seed']}",
        "Commit": query_git("rev-parse", "HEAD") or "none",
        "Processor": f"{hardware['Processor']}, computes as {hardware['Computes']}",
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }
