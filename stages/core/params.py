"""`params.yaml` as frozen, checked values."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from stages.core.data_section import Data
from stages.core.errors import UserError
from stages.core.param_sections import (
    FITTED_AFTER_TRAINING,
    Cache,
    Drift,
    Evaluate,
    Gate,
    Model,
    Preprocess,
    Tracking,
    Train,
)
from stages.core.param_types import ALL_KEYS, MISSING, Section, Seed, describe_error
from stages.core.paths import PARAMS
from stages.core.secrets import redact
from stages.core.sweep_space import ALLOWED, DEFAULT_SPACE, Dimension, parse_space
from stages.core.yaml_files import parse_yaml, read_yaml


class Params(Section):
    """All of `params.yaml`, for entry points only; other code receives its own section or plain values."""

    seed: Seed = 42
    data: Data = Data()
    model: Model = Model()
    preprocess: Preprocess = Preprocess()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    cache: Cache = Cache()
    tracking: Tracking = Tracking()
    gate: Gate = Gate()
    drift: Drift = Drift()
    sweep: dict[str, Dimension] = Field(default=DEFAULT_SPACE, validate_default=True)

    @field_validator("sweep", mode="plain")
    @classmethod
    def check_sweep(cls, value: Any) -> dict[str, Dimension]:
        if value is MISSING:
            raise ValueError(f"sweep: missing; allowed: {{}}, or params of train with {ALLOWED}")
        return parse_space(value)

    @property
    def train_seed(self) -> int:
        """The seed of the training: weights of the head, order of batches, dropout."""
        return self.seed if self.train.seed is None else self.train.seed

    @classmethod
    def load(cls, path: Path = PARAMS) -> "Params":
        """Read and check a file; UserError lists all errors, each with its dotted key."""
        return cls.check(read_yaml(path), str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> "Params":
        """Check a file's text as `load` does; messages name it by its `source`."""
        return cls.check(parse_yaml(text, source), source)

    @classmethod
    def check(cls, values: dict[str, Any], source: str, complete: bool = True) -> "Params":
        """Check the values of a file; UserError lists all errors, each with its dotted key.

        With `complete` each key must be given, as in params.yaml; else missing keys get their default, as in a recipe.
        """
        try:
            return cls.model_validate(values, context=ALL_KEYS if complete else None)
        except ValidationError as caught:
            found = dict.fromkeys(describe_error(error, cls) for error in caught.errors())
            # A value of several types has an error for each: the one with the limit says all.
            errors = [one for one in found if not any(other != one and other.startswith(one) for other in found)]
            lines = "".join(f"\n  {error}" for error in errors)
            raise UserError(f"{source}: {len(errors)} error{'s' * (len(errors) > 1)}{lines}") from None

    def change_train(self, values: dict[str, Any]) -> "Params":
        """These params with other values in the section `train`, by dotted key; ValidationError for one not allowed."""
        changes = {key.removeprefix("train."): value for key, value in values.items()}
        return self.model_copy(update={"train": Train.model_validate(self.train.model_dump() | changes)})

    def flat_train(self) -> dict[str, Any]:
        """What decides a training: the section `train` of `flat`, with its seed, without what is fitted afterwards."""
        fitted = {f"train.{key}" for key in FITTED_AFTER_TRAINING}
        values = {key: value for key, value in self.flat().items() if key.startswith("train.") and key not in fitted}
        return values | {"train.seed": self.train_seed}

    def flat(self) -> dict[str, Any]:
        """`{"train.learning_rate": 5e-5, ...}`, as MLflow stores them and reports show them.

        Secrets of URLs are hidden. `gate`, `drift` and `sweep`, which change no run, are left out.
        """
        others = ("gate.", "drift.", "sweep")
        values = {key: value for key, value in flatten(self) if not key.startswith(others)}
        return {key: redact(value) if isinstance(value, str) else value for key, value in values.items()}


def flatten(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value of each field."""
    for key, value in section:
        if isinstance(value, Section):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
