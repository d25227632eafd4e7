"""What a field of `params.yaml` may hold, and the line that says so where it holds something else.

The description of a field is what that line says is allowed.
"""

import difflib
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field

MOST = 2**31 - 1  # of any number: what libraries hold in 32 bits, and more than makes sense
Count = Annotated[int, Field(ge=1, le=MOST, description="a whole number ≥ 1")]
CountOrNull = Annotated[int | None, Field(ge=1, le=MOST, description="a whole number ≥ 1, or null")]
NotNegative = Annotated[float, Field(ge=0, le=MOST, description="a number ≥ 0")]
Share = Annotated[float, Field(ge=0, lt=1, description="a number ≥ 0 and < 1")]
Fraction = Annotated[float, Field(gt=0, lt=1, description="a number between 0 and 1, both excluded")]
ShareOrNull = Annotated[float | None, Field(ge=0, le=1, description="a number from 0 to 1, or null")]
NameOrNull = Annotated[str | None, Field(min_length=1, description="a name, or null")]
Column = Annotated[str | int, Field(description="a column's name, or its number, counted from 0")]
Switch = Annotated[bool, Field(description="true or false")]


def one_of(kind: Any) -> Any:
    """A field for a Literal type, described by its values."""
    return Field(description="one of " + ", ".join(get_args(kind)))


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def describe(fault: Any, sections: type[BaseModel]) -> str:
    """One line for one of pydantic's errors: dotted key, what was found, what is allowed."""
    if fault["type"] == "value_error":  # our own validators name the key themselves
        return str(fault["ctx"]["error"])
    fields, siblings, names, field = sections.model_fields, {}, [], None
    for part in fault["loc"]:
        names.append(str(part))
        field, siblings = fields.get(part), fields
        fields = getattr(field.annotation, "model_fields", {}) if field else {}
        if not fields:
            break  # what follows is the branch of a union, no key
    key = ".".join(names)
    allowed = (field.description if field else None) or "a section of keys"
    if fault["type"] == "extra_forbidden":
        close = difflib.get_close_matches(names[-1], siblings, n=1)
        return f"{key}: unknown key; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(siblings)}")
    if fault["type"] == "missing":
        return f"{key}: missing; allowed: {allowed}"
    most = fault.get("ctx", {}).get("le")
    limit = f", at most {most:.0f}" if most else ""
    return f"{key}: found {fault['input']!r}; allowed: {allowed}{limit}"
