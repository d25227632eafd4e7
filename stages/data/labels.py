"""The labels of rows: read from the values of the label column, or of several, and kept as sets of labels."""

from itertools import chain
from typing import Any

import numpy as np

from stages.core.data_section import Data
from stages.core.errors import UserError, to_one_line

SWITCHES = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}  # values of label columns
SEPARATED_EXAMPLES = 2  # values of the label column that an error message shows


class BadRow(Exception):
    """Why a row cannot be used."""


def format_value(value: Any) -> str | None:
    """A label, group or slice as text: `3`, `3.0` and " 3 " are "3", `True` is "true"; None when it is missing."""
    if is_missing(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (str(value).lower() if isinstance(value, bool) else str(value).strip()) or None


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)  # NaN is a missing value in tables


class LabelReader:
    """Reads the labels of one row after the other, as the names that `data.label_names` gives them.

    `is_multi_label` says whether a row may have several labels, or none. Without a separator or several label columns,
    the first label decides it, a list or not: until then it is None.
    """

    def __init__(self, data: Data):
        self.separator = data.label_separator
        self.columns = [str(c).strip() for c in data.label_column] if isinstance(data.label_column, list) else []
        self.new_names = {format_value(value): name for value, name in (data.label_names or {}).items()}
        self.is_multi_label = True if self.separator or self.columns else None
        self.has_met_separator = False
        self.examples: dict[str, None] = {}  # the first different values, in which the separator may be

    @property
    def order(self) -> list[str]:
        """The labels in the order in which the params give them; none when they do not."""
        if self.columns:
            return list(dict.fromkeys(self.new_names.get(column, column) for column in self.columns))
        return list(dict.fromkeys(self.new_names.values()))

    def read(self, value: Any) -> tuple[str, ...]:
        """The different labels of a row, in the order in which they are in `value`; BadRow when it cannot be used."""
        if self.columns:
            labels = [name for name, cell in zip(self.columns, value, strict=True) if read_switch(name, cell)]
        elif self.separator:
            labels = self.split(value)
        else:
            labels = self.read_one_or_list(value)
        if self.new_names and not all(label in self.new_names for label in labels):
            raise BadRow("label not in data.label_names")
        return tuple(dict.fromkeys(self.new_names[label] if self.new_names else label for label in labels))

    def split(self, value: Any) -> list[str]:
        """The labels of a text that the separator is between; an empty text has none."""
        if is_missing(value):
            raise BadRow("missing label")
        if isinstance(value, list):
            raise BadRow("label is a list already, so data.label_separator must be null")
        text = value if isinstance(value, str) else format_label(value)
        parts = text.split(self.separator)
        self.has_met_separator |= len(parts) > 1
        if text.strip() and len(self.examples) < SEPARATED_EXAMPLES:
            self.examples[text] = None
        return [part.strip() for part in parts if part.strip()]

    def read_one_or_list(self, value: Any) -> list[str]:
        """The label of a value that is no list, or those of a list; all rows must be of the same kind."""
        is_list = isinstance(value, list)
        labels = [format_label(item) for item in value if item != ""] if is_list else [format_label(value)]
        if self.is_multi_label is None:
            self.is_multi_label = is_list
        if is_list != self.is_multi_label:
            raise BadRow(f"label is {'a' if is_list else 'no'} list, unlike the labels before")
        return labels

    def check_separator(self, source: str) -> None:
        """UserError when no value had the separator: it is likely to be another one."""
        if self.separator and self.examples and not self.has_met_separator:
            examples = " and ".join(repr(to_one_line(text)) for text in self.examples)
            raise UserError(
                f"data.label_separator: found {self.separator!r}, which no label of {source} contains; there is "
                f"{examples}. Give the text that is between the labels of a row, or null if each has one label."
            )


def read_switch(column: str, value: Any) -> bool:
    """Whether the value of a label column says that a row has the label; BadRow when it is neither 0 nor 1."""
    text = (format_value(value) or "").lower()
    if text not in SWITCHES:
        raise BadRow(f"column {column} is neither 0 nor 1")
    return SWITCHES[text]


def format_label(value: Any) -> str:
    """A label as text; BadRow when it is missing, or of another type."""
    if isinstance(value, (bytes, list, dict)):
        raise BadRow("label is neither text nor a number")
    label = format_value(value)
    if label is None:
        raise BadRow("missing label")
    return label


class LabelSets:
    """The labels of a corpus, and all different sets of labels that a row has; a row is the index of its set.

    `names` are in the order in which they were given, else seen. A set is a tuple of indices of names, ascending. Where
    each row has one label, a set has the index of its label, so that an array of sets is one of classes.
    """

    def __init__(self, names: list[str]):
        self.names: list[str] = []
        self.sets: list[tuple[int, ...]] = []
        self.name_indices: dict[str, int] = {}
        self.set_indices: dict[tuple[int, ...], int] = {}
        self.found: dict[tuple[str, ...], int] = {}  # the same by names in any order, since rows repeat them
        for name in names:
            self.find((name,))

    def find(self, labels: tuple[str, ...]) -> int:
        """The index of the set of these labels, which becomes a new one when it is not known."""
        if labels not in self.found:
            self.found[labels] = self.find_set(tuple(sorted(map(self.find_name, labels))))
        return self.found[labels]

    def find_name(self, name: str) -> int:
        if name not in self.name_indices:
            self.name_indices[name] = len(self.names)
            self.names.append(name)
        return self.name_indices[name]

    def find_set(self, indices: tuple[int, ...]) -> int:
        if indices not in self.set_indices:
            self.set_indices[indices] = len(self.sets)
            self.sets.append(indices)
        return self.set_indices[indices]

    def count(self, rows: np.ndarray) -> np.ndarray:
        """The number of rows with each label, `(C,)`, among rows `(N,)`, given by their sets."""
        by_set = np.bincount(rows, minlength=len(self.sets))
        lengths = [len(labels) for labels in self.sets]
        labels = np.fromiter(chain.from_iterable(self.sets), dtype=np.int64)
        counts = np.bincount(labels, weights=np.repeat(by_set, lengths), minlength=len(self.names))
        return counts.astype(np.int64)

    def make_multi_hot(self, rows: np.ndarray) -> np.ndarray:
        """Which labels each row has, bool `(N, C)`, for rows `(N,)`, given by their sets."""
        table = np.zeros((len(self.sets), len(self.names)), dtype=bool)
        for index, labels in enumerate(self.sets):
            table[index, list(labels)] = True
        return table[rows]
