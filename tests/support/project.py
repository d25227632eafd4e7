"""The project that is tested: its folder, and its default params with changes."""

from pathlib import Path
from typing import Any

from stages.core.params import Params

ROOT = Path(__file__).parents[2]


def make_params(changes: dict[str, Any]) -> dict[str, Any]:
    """The defaults, with changes by dotted key; values that the user has set in params.yaml have no effect on tests."""
    return change(Params(sweep={}).model_dump(), changes)


def change(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Set dotted keys in nested dicts."""
    for key, value in changes.items():
        *sections, name = key.split(".")
        target = values
        for section in sections:
            target = target[section]
        target[name] = value
    return values
