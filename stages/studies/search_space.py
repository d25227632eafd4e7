"""The params that a search chooses: drawn by Optuna, given to it, and passed on to DVC."""

import json
from typing import TYPE_CHECKING, Any

from stages.core.sweep_space import Dimension

if TYPE_CHECKING:
    import optuna


def suggest(trial: "optuna.Trial", space: dict[str, Dimension]) -> dict[str, Any]:
    """Values for all params of the space, chosen by the study's sampler or put in the queue by `plan`."""
    return {key: suggest_value(trial, key, dimension) for key, dimension in space.items()}


def suggest_value(trial: "optuna.Trial", key: str, dimension: Dimension) -> Any:
    low, high, log, choices = dimension
    if choices:
        return trial.suggest_categorical(key, choices)
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(key, low, high, log=log)
    return trial.suggest_float(key, low, high, log=log)


def contains(space: dict[str, Dimension], params: dict[str, Any]) -> bool:
    """Whether a search of the space can choose these params."""
    return all(
        params[key] in dimension.choices
        if dimension.choices
        else isinstance(params[key], int | float) and dimension.low <= params[key] <= dimension.high
        for key, dimension in space.items()
    )


def choose_from(space: dict[str, Dimension], values: dict[str, Any]) -> dict[str, Any] | None:
    """The values of the params of a space, as a search of it would choose them; None when it could not.

    A whole number may be a float, as 1.0 epochs are.
    """
    chosen = {
        key: int(values[key]) if is_whole(values[key], dimension) else values[key] for key, dimension in space.items()
    }
    return chosen if contains(space, chosen) else None


def is_whole(value: Any, dimension: Dimension) -> bool:
    return isinstance(value, float) and value.is_integer() and isinstance(dimension.low, int) and not dimension.choices


def write_overrides(params: dict[str, Any]) -> list[str]:
    """Params as `dvc exp run -S` takes them: `train.learning_rate=0.0003`, with all digits."""
    return [f"{key}={write_value(value)}" for key, value in params.items()]


def write_value(value: Any) -> str:
    """A value in YAML."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
