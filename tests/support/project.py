"""The project that is tested: its folder, and its params with changes."""

from pathlib import Path
from typing import Any

from stages.core.params import Params

ROOT = Path(__file__).parents[2]


def make_params(changes: dict[str, Any]) -> dict[str, Any]:
    """The values of a params.yaml: the project's defaults, whatever the user has set, with changes by dotted key."""
    return change(Params().model_dump(), changes)


def change(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Set dotted keys in nested dicts."""
    for key, value in changes.items():
        *sections, name = key.split(".")
        target = values
        for section in sections:
            target = target[section]
        target[name] = value
    return values
