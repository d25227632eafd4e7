"""Types of the fields of `params.yaml`, and the message about a value of another type.

The description of a field is what the message names as allowed.
"""

import difflib
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

ALL_KEYS = "all keys"  # pydantic's context: each key must be given
MISSING = object()  # stands for a missing key, since no field accepts it
LARGEST = 2**31 - 1  # that a number may be: libraries store some of them in 32 bits
Count = Annotated[int, Field(ge=1, le=LARGEST, description="a whole number ≥ 1")]
CountOrNull = Annotated[int | None, Field(ge=1, le=LARGEST, description="a whole number ≥ 1, or null")]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST, description="a number ≥ 0")]
Share = Annotated[float, Field(ge=0, lt=1, description="a number ≥ 0 and < 1")]
Fraction = Annotated[float, Field(gt=0, lt=1, description="a number between 0 and 1, both excluded")]
ShareOrNull = Annotated[float | None, Field(ge=0, le=1, description="a number from 0 to 1, or null")]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")]
SeedOrNull = Annotated[int | None, Field(ge=0, lt=2**32, description="a whole number from 0 to 4294967295, or null")]
NameOrNull = Annotated[str | None, Field(min_length=1, description="a name, or null")]
Column = Annotated[str | int, Field(description="a column's name, or its number, counted from 0")]
ColumnOrNull = Annotated[str | int | None, Field(description="a column's name or number, or null")]
FreezeLayers = Annotated[
    Annotated[int, Field(ge=0, le=LARGEST)] | Literal["all"], Field(description="a whole number ≥ 0, or all")
]
PositiveOrAuto = Annotated[
    Annotated[float, Field(gt=0, le=LARGEST)] | Literal["auto"], Field(description="a number > 0, or auto")
]
GOAL_PATTERN = r"^(max f1|(precision|recall) *(>=|≥) *(1|1\.0|0\.\d*[1-9]\d*))$"
GoalOrNull = Annotated[
    str | None,
    Field(
        pattern=GOAL_PATTERN,
        description="max f1, precision >= P or recall >= P, with a number P above 0 and up to 1; or null",
    ),
]
Pooling = Literal["first", "mean"]
Switch = Annotated[bool, Field(description="true or false")]


def one_of(kind: Any) -> Any:
    """A field for a Literal type, described by its values."""
    return Field(description="one of " + ", ".join(get_args(kind)))


class Section(BaseModel):
    """A section of `params.yaml`: its values cannot change, and unknown keys are errors."""

    # Defaults are validated too, since a rule may forbid one together with a value that was given.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def mark_missing_keys(cls, values: Any, info: ValidationInfo) -> Any:
        """Make missing keys errors where the context asks for all keys; elsewhere they get their default."""
        if info.context == ALL_KEYS and isinstance(values, dict):
            return dict.fromkeys(cls.model_fields, MISSING) | values
        return values


def describe_error(error: Any, root: type[BaseModel]) -> str:
    """One line for one of pydantic's errors: dotted key, what was found, what is allowed."""
    if error["type"] == "value_error":  # raised by our own validators, which name the key themselves
        return str(error["ctx"]["error"])
    fields, siblings, names, field = root.model_fields, {}, [], None
    for part in error["loc"]:
        names.append(str(part))
        field, siblings = fields.get(part), fields
        fields = getattr(field.annotation, "model_fields", {}) if field else {}
        if not fields:
            break  # the rest of `loc` names a type of a union, not a key
    key = ".".join(names)
    allowed = (field.description if field else None) or "a section of keys"
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(names[-1], siblings, n=1)
        return f"{key}: unknown key; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(siblings)}")
    if error["input"] is MISSING:
        return f"{key}: missing; allowed: {allowed}"
    largest = error.get("ctx", {}).get("le")
    limit = f", at most {largest:.0f}" if largest else ""
    return f"{key}: found {error['input']!r}; allowed: {allowed}{limit}"
