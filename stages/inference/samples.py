"""Samples of rows with their texts: drawn by a seed from a CSV file, or from a split of `data/raw`."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.csv_tables import ROWS_AT_ONCE, find_column
from stages.core.errors import UserError
from stages.inference.csv_file import Layout, TextTable, open_table, read_number

Item = TypeVar("Item")
ANSWER_COLUMNS = {"label", "probability"}  # those that `stages.predict` adds


class SampledRow(NamedTuple):
    """A row; its label is a cell, or a tuple of cells of several columns; in `data/raw` a name, or a list of names."""

    text: str | tuple[str, str]
    location: str  # for messages
    label: Any = None


class Sample(NamedTuple):
    """Rows of a file in their order, of `total` that there are."""

    name: str  # of the file
    rows: list[SampledRow]
    total: int
    has_labels: bool

    @property
    def texts(self) -> list[Any]:
        """The texts, or pairs of texts."""
        return [row.text for row in self.rows]

    @property
    def locations(self) -> list[str]:
        """Where the rows are, for messages."""
        return [row.location for row in self.rows]


def draw(rows: Iterable[Item], most: int, seed: int) -> tuple[list[Item], int]:
    """At most `most` rows, each equally likely, in their order; and how many there are.

    A reservoir (Vitter, Random Sampling with a Reservoir, 1985, algorithm R): memory does not grow with the rows.
    """
    generator = random.Random(seed)
    kept: list[tuple[int, Item]] = []
    total = 0
    for row in rows:
        place = total if total < most else generator.randrange(total + 1)
        if place < most:
            kept[place : place + 1] = [(total, row)]
        total += 1
    return [row for _, row in sorted(kept, key=lambda pair: pair[0])], total


def draw_from_csv(
    path: Path, layout: Layout, label_columns: list[str | int], must_have_labels: bool, most: int, seed: int
) -> Sample:
    """A sample of a CSV file, with its labels where it has all label columns.

    UserError when the file cannot be read, is empty, or a row of it is broken; with `must_have_labels` also when it has
    not all label columns. A column `label` that `stages.predict` has added is no label.
    """
    with open_table(path, layout) as table:
        has_labels = must_have_labels or finds_labels(table, label_columns)
        places = [find_label_column(table, column) for column in label_columns] if has_labels else []
        rows = (SampledRow(text, location, read_label(cells, places)) for cells, text, location in table.read_rows())
        return Sample(path.name, *draw(rows, most, seed), has_labels)


def finds_labels(table: TextTable, columns: list[str | int]) -> bool:
    """Whether a file has all label columns, as given in params.yaml, and they are not those of predict."""
    if table.header is None:
        return all(isinstance(column, int) and column < table.width for column in columns)
    if columns == ["label"] and set(table.header) >= ANSWER_COLUMNS:
        print(f"{table.path}: label beside probability is taken for predict's answer (--label-column reads it)")
        return False
    return all(column in table.header or isinstance(column, int) for column in columns)


def find_label_column(table: TextTable, column: str | int) -> int:
    """The position of a label column."""
    first = table.header or [""] * table.width
    key = "--label-column (default: data.label_column)"
    return find_column(table.path, key, read_number(column, table.header), first, table.layout.csv_format)


def read_label(cells: list[str], places: list[int]) -> Any:
    """The cell of the label, or those of several label columns."""
    values = tuple(cells[place] for place in places)
    return values if len(values) > 1 else values[0] if values else None


def draw_from_split(raw: Path, most: int, seed: int) -> Sample:
    """A sample of a Parquet file of `data/raw`; UserError when it is missing or broken."""
    try:
        return Sample(raw.name, *draw(read_split(raw), most, seed), has_labels=True)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UserError(f"{raw}: cannot be read ({error}); run `dvc repro download`, which makes it.") from None


def read_split(raw: Path) -> Iterator[SampledRow]:
    """Yield the rows of a Parquet file of `data/raw`."""
    with pq.ParquetFile(raw) as file:
        number = 0
        for batch in file.iter_batches(ROWS_AT_ONCE):
            for row in batch.to_pylist():
                number += 1
                text = (row["text"], row["text_pair"]) if "text_pair" in row else row["text"]
                yield SampledRow(text, f"{raw} row {number}", row["label"])
