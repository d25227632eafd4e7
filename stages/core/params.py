"""`params.yaml` as frozen, checked values."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from stages.core.errors import UserError
from stages.core.param_sections import Cache, Data, Evaluate, Gate, Model, Preprocess, Tracking, Train
from stages.core.param_types import ALL_KEYS, Section, describe_error
from stages.core.paths import PARAMS
from stages.core.secrets import redact
from stages.core.yaml_files import parse_yaml, read_yaml


class Params(Section):
    """All of `params.yaml`, for entry points only; other code receives its own section or plain values."""

    seed: Annotated[int, Field(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")] = 42
    data: Data = Data()
    model: Model = Model()
    preprocess: Preprocess = Preprocess()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    cache: Cache = Cache()
    tracking: Tracking = Tracking()
    gate: Gate = Gate()

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

    def flat(self) -> dict[str, Any]:
        """`{"train.learning_rate": 5e-5, ...}`, as MLflow stores them and reports show them.

        Secrets of URLs are hidden. `gate`, which changes no run, is left out.
        """
        values = {key: value for key, value in flatten(self) if not key.startswith("gate.")}
        return {key: redact(value) if isinstance(value, str) else value for key, value in values.items()}


def flatten(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value of each field."""
    for key, value in section:
        if isinstance(value, Section):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
