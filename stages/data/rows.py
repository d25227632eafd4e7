"""A row of labelled text as a source gives it, and the errors that make it unusable."""

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from stages.core.errors import UserError, to_one_line
from stages.core.param_sections import Data

EXAMPLES = 3  # rows that an error message names for each reason


class Row(NamedTuple):
    """A row of a source: its values as they are there, or the error when it cannot be read."""

    location: str  # for messages, such as "train.csv row 3 (line 5)"
    text: Any = None
    label: Any = None
    text_pair: Any = None
    error: str | None = None


def format_label(label: Any) -> str | None:
    """A label as text: `3`, `3.0` and " 3 " are "3", `True` is "true"; None when it is missing."""
    if label is None or (isinstance(label, float) and label != label):  # NaN is a missing value in tables
        return None
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return (str(label).lower() if isinstance(label, bool) else str(label).strip()) or None


def find_row_error(row: Row, label: str | None, data: Data) -> str | None:
    """Why the row cannot be used; None when it can. `label` is its label as text, or the name that params give it."""
    if row.error:
        return row.error
    texts = [row.text] if data.text_pair_column is None else [row.text, row.text_pair]
    if any(text is None for text in texts):
        return "missing text"
    if not all(isinstance(text, str) for text in texts):
        return "text is not a string"
    if not row.text.strip():
        return "empty text"
    if isinstance(row.label, (bytes, list, dict)):
        return "label is neither text nor a number"
    if label is None:
        return "missing label" if format_label(row.label) is None else "label not in data.label_names"
    try:
        "".join([*texts, label]).encode()
    except UnicodeEncodeError:  # bytes that cannot be decoded are lone surrogates (PEP 383); JSON can contain them too
        return f"text is not {data.encoding if data.source in ('csv', 'json') else 'utf-8'}"
    return None


def hash_texts(rows: Iterable[tuple[str, str | None]]) -> np.ndarray:
    """64-bit hashes `(N,)` of texts with their second texts; the same for texts that differ only in whitespace."""
    contents = ("\0".join(" ".join(text.split()) for text in row if text is not None) for row in rows)
    digests = (hashlib.blake2b(content.encode(), digest_size=8).digest() for content in contents)
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
