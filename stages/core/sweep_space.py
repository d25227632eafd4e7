"""The section `sweep` of `params.yaml`: what a search may change, and between which values."""

import math
from typing import Any, NamedTuple

from pydantic import ValidationError

from stages.core.param_sections import FITTED_AFTER_TRAINING, Train
from stages.core.param_types import describe_error

ALLOWED = "low and high (and log), or choices"
PREFIX = "train."
DEFAULT_SPACE = {
    "train.learning_rate": {"low": 5e-5, "high": 1e-3, "log": True},
    "train.num_train_epochs": {"low": 1, "high": 3},
    "train.per_device_train_batch_size": {"choices": [16, 32, 64]},
    "train.lr_scheduler_type": {"choices": ["linear", "cosine"]},
    "train.weight_decay": {"low": 1e-3, "high": 0.1, "log": True},
    "train.label_smoothing_factor": {"low": 0.0, "high": 0.2},
}


class Dimension(NamedTuple):
    """The values of one param: a range, `low` and `high` included, of whole numbers if both are; or `choices`."""

    low: float = 0
    high: float = 0
    log: bool = False  # whether the logarithm is drawn evenly
    choices: tuple[Any, ...] = ()


def parse_space(value: Any) -> dict[str, Dimension]:
    """The dimensions by the dotted key of their param, as `params.yaml` has them; ValueError with all mistakes."""
    if not isinstance(value, dict):
        raise ValueError(f"sweep: found {value!r}; allowed: {{train.learning_rate: {{low: 1, high: 2}}, ...}}")
    found = {str(key): parse_dimension(str(key), dimension) for key, dimension in value.items()}
    errors = [error for error in found.values() if isinstance(error, str)]
    if errors:
        raise ValueError("\n  ".join(errors))
    return {key: dimension for key, dimension in found.items() if isinstance(dimension, Dimension)}


def parse_dimension(key: str, value: Any) -> Dimension | str:
    """A dimension, or the message about what is wrong with it."""
    name = key.removeprefix(PREFIX)
    if not key.startswith(PREFIX) or name not in Train.model_fields:
        return f"sweep.{key}: cannot be searched; allowed: keys of the section train, such as train.learning_rate"
    if name in FITTED_AFTER_TRAINING:
        return f"sweep.{key}: cannot be searched, because it is fitted after the training and changes no training"
    keys = set(value) if isinstance(value, dict) else set()
    if keys == {"choices"} and isinstance(value["choices"], list) and len(value["choices"]) > 1:
        dimension, tried = Dimension(choices=tuple(value["choices"])), value["choices"]
    elif {"low", "high"} <= keys <= {"low", "high", "log"} and isinstance(value.get("log", False), bool):
        dimension, tried = Dimension(**value), [value["low"], value["high"]]
        problem = find_range_problem(dimension)
        if problem:
            return f"sweep.{key}: {problem}"
    else:
        return f"sweep.{key}: found {value!r}; allowed: {ALLOWED}"
    errors = [error for one in tried if (error := find_value_problem(name, one))]
    return f"sweep.{PREFIX}{errors[0]}" if errors else dimension


def find_range_problem(dimension: Dimension) -> str | None:
    """What is wrong with the ends of a range; None when they are numbers in order."""
    ends = (dimension.low, dimension.high)
    if not all(isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end) for end in ends):
        return f"found low {ends[0]!r} and high {ends[1]!r}; allowed: numbers"
    if not ends[0] < ends[1]:
        return f"found low {ends[0]!r} and high {ends[1]!r}; low must be less than high"
    if dimension.log and ends[0] <= 0:
        return f"found low {ends[0]!r} with log; it must be greater than 0"
    return None


def find_value_problem(name: str, value: Any) -> str | None:
    """Why a param of the section `train` cannot have a value; None when it can."""
    try:
        Train.model_validate({name: value})
    except ValidationError as caught:
        return describe_error(caught.errors()[0], Train)
    return None
