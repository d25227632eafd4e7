"""A row of labelled text on its way from a source to `data/raw`, and what makes it unusable."""

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from stages.core.errors import UserError, to_one_line
from stages.core.param_sections import Data

EXAMPLES = 3  # rows that an error message names for each reason


class Row(NamedTuple):
    """What a source found: values as they were, or why they could not be read."""

    location: str
    text: Any = None
    label: Any = None
    text_pair: Any = None
    error: str | None = None


def label_text(label: Any) -> str | None:
    """A label as text: `3`, `3.0` and " 3 " are "3", `True` is "true"; None when it is missing."""
    if label is None or (isinstance(label, float) and label != label):  # NaN is how tables say "nothing"
        return None
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return (str(label).lower() if isinstance(label, bool) else str(label).strip()) or None


def fault_of(row: Row, label: str | None, data: Data) -> str | None:
    """Why the row cannot be used, given its label as text or name; None when it can."""
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
        return "missing label" if label_text(row.label) is None else "label not in data.label_names"
    try:
        "".join([*texts, label]).encode()
    except UnicodeEncodeError:  # undecodable bytes are read as lone surrogates (PEP 383); JSON can spell them out
        return f"text is not {data.encoding if data.source in ('csv', 'json') else 'utf-8'}"
    return None


def hash_texts(rows: Iterable[tuple[str, str | None]]) -> np.ndarray:
    """64-bit hashes `(N,)` of texts with their pairs; texts that differ only in whitespace have the same."""
    contents = ("\0".join(" ".join(text.split()) for text in row if text is not None) for row in rows)
    digests = (hashlib.blake2b(content.encode(), digest_size=8).digest() for content in contents)
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


class Faults:
    """Counts rows that cannot be used, by reason, and remembers the first of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[str]] = {}

    def add(self, reason: str, where: str) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append(to_one_line(where))

    def refuse(self, source: str) -> None:
        """Raise UserError when there are any."""
        if not self.counts:
            return
        total = sum(self.counts.values())
        lines = [
            f"\n  {reason} ({count:,}): {', '.join(self.examples[reason])}{', ...' * (count > EXAMPLES)}"
            for reason, count in sorted(self.counts.items(), key=lambda item: -item[1])
        ]
        hint = " Where quotes are text, set data.quotechar to null." * ("broken quotes" in self.counts)
        raise UserError(
            f"{source}: {total:,} row{'s' * (total > 1)} cannot be used{''.join(lines)}\nMend them, or set "
            f"data.on_bad_rows to drop: they are then left out and counted.{hint}"
        )
