"""A row of labelled text as a source gives it, and the errors that make it unusable."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from stages.core.data_section import Data
from stages.core.errors import UserError, to_one_line
from stages.data.labels import BadRow, LabelReader, format_value

EXAMPLES = 3  # rows that an error message names for each reason


class Row(NamedTuple):
    """A row of a source: its values as they are there, or the error when it cannot be read."""

    location: str  # for messages, such as "train.csv row 3 (line 5)"
    text: Any = None
    label: Any = None  # a list for several labels; a tuple of the values of several label columns
    text_pair: Any = None
    group: Any = None
    slices: tuple[Any, ...] = ()
    error: str | None = None


class UsableRow(NamedTuple):
    """A row whose values were checked."""

    text: str
    text_pair: str | None
    labels: tuple[str, ...]
    location: str
    group: str | None
    slices: tuple[str, ...]


def list_columns(data: Data) -> list[tuple[str, str | int]]:
    """Key and value of the params that name columns: text, label or labels, then second text, group and slices."""
    labels = data.label_column if isinstance(data.label_column, list) else [data.label_column]
    columns: list[tuple[str, Any]] = [("data.text_column", data.text_column)]
    columns += [("data.label_column", column) for column in labels]
    columns += [(f"data.{key}", getattr(data, key)) for key in ("text_pair_column", "group_column")]
    columns += [("data.slice_columns", column) for column in data.slice_columns or []]
    return [(key, column) for key, column in columns if column is not None]


def make_row(location: str, values: Sequence[Any], data: Data) -> Row:
    """The row with these values, which are those of `list_columns`."""
    rest = iter(values)
    text = next(rest)
    label = tuple(next(rest) for _ in data.label_column) if isinstance(data.label_column, list) else next(rest)
    text_pair = next(rest) if data.text_pair_column is not None else None
    group = next(rest) if data.group_column is not None else None
    return Row(location, text, label, text_pair, group, tuple(rest))


def read_row(row: Row, reader: LabelReader, data: Data) -> UsableRow:
    """Check the values of a row; BadRow when it cannot be used."""
    if row.error:
        raise BadRow(row.error)
    texts = [row.text] if data.text_pair_column is None else [row.text, row.text_pair]
    if any(text is None for text in texts):
        raise BadRow("missing text")
    if not all(isinstance(text, str) for text in texts):
        raise BadRow("text is not a string")
    if not row.text.strip():
        raise BadRow("empty text")
    labels = reader.read(row.label)
    group = None if data.group_column is None else format_cell(row.group, "group")
    if group == "":
        raise BadRow("missing group")
    slices = tuple(format_cell(value, "slice") for value in row.slices)
    try:
        "".join([*texts, *labels, group or "", *slices]).encode()
    except UnicodeEncodeError:  # bytes that cannot be decoded are lone surrogates (PEP 383); JSON can contain them too
        raise BadRow(f"text is not {data.encoding if data.source in ('csv', 'json') else 'utf-8'}") from None
    return UsableRow(row.text, row.text_pair, labels, row.location, group, slices)


def format_cell(value: Any, what: str) -> str:
    """The value of a group or slice as text, "" when it is missing; BadRow when it is a list or the like."""
    if isinstance(value, (bytes, list, dict)):
        raise BadRow(f"{what} is neither text nor a number")
    return format_value(value) or ""


def hash_texts(rows: Iterable[tuple[str, str | None]]) -> np.ndarray:
    """64-bit hashes `(N,)` of texts with their second texts; the same for texts that differ only in whitespace."""
    return hash_values("\0".join(" ".join(text.split()) for text in row if text is not None) for row in rows)


def hash_values(values: Iterable[str]) -> np.ndarray:
    """64-bit hashes `(N,)`."""
    digests = (hashlib.blake2b(value.encode(), digest_size=8).digest() for value in values)
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


class RowErrors:
    """Rows that cannot be used: their number for each reason, and the locations of the first of them."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def add(self, reason: str, location: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append(to_one_line(location))

    def raise_if_any(self, source: str) -> None:
        """Raise UserError, which lists the reasons by number of rows, when there is an error."""
        if not self.counts:
            return
        total = sum(self.counts.values())
        lines = [
            f"\n  {reason} ({count:,}): {', '.join(self.examples[reason])}{', ...' * (count > EXAMPLES)}"
            for reason, count in sorted(self.counts.items(), key=lambda item: -item[1])
        ]
        hint = " If quotes are a part of the text, set data.quotechar to null." * ("broken quotes" in self.counts)
        raise UserError(
            f"{source}: {total:,} row{'s' * (total > 1)} cannot be used{''.join(lines)}\nCorrect them, or set "
            f"data.on_bad_rows to drop: they are then left out and counted.{hint}"
        )
