"""CSV files whose rows are answered: read in chunks, written again with two columns more."""

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tqdm import tqdm

from stages.core.errors import UserError, one_line
from stages.core.files import new_file

ROWS_AT_ONCE = 1000
LONGEST_CELL = 1 << 28  # characters; beyond that a quote was not closed


class Layout(NamedTuple):
    """What a CSV file looks like: keys of the section `data` of params.yaml."""

    text_column: str | int = "text"
    text_pair_column: str | int | None = None
    encoding: str = "utf-8"
    header: bool = True
    delimiter: str = ","
    quotechar: str | None = '"'

    @property
    def format(self) -> dict[str, Any]:
        quoting = csv.QUOTE_MINIMAL if self.quotechar else csv.QUOTE_NONE
        return {"delimiter": self.delimiter, "quotechar": self.quotechar, "quoting": quoting}


Chunk = tuple[list[list[str]], list[Any], list[str]]
Answered = Callable[[list[Any], list[str]], list[tuple[str, str]]]


class Table:
    """An open CSV file: its header, if it has one, and its rows with their texts."""

    def __init__(self, path: Path, file: Any, layout: Layout):
        self.path, self.file, self.layout = path, file, layout
        csv.field_size_limit(LONGEST_CELL)
        self.reader = csv.reader(file, strict=True, **layout.format)
        self.number, first = 0, self.next_row()
        if first is None:
            raise UserError(f"{path}: is empty.")
        self.header, self.width = (first if layout.header else None), len(first)
        self.first = None if layout.header else first
        self.columns = [self.find(layout.text_column, first)]
        if layout.text_pair_column is not None:
            self.columns.append(self.find(layout.text_pair_column, first))

    def next_row(self) -> list[str] | None:
        """The next row that is no empty line; None at the end."""
        try:
            while True:
                self.line = self.reader.line_num + 1
                if (cells := next(self.reader, None)) != []:
                    return cells
        except (csv.Error, UnicodeError) as error:
            raise UserError(f"{self.where()}: cannot be read as csv ({error}).") from None

    def where(self) -> str:
        return f"{self.path} row {self.number} (line {self.line})" if self.number else f"{self.path} line {self.line}"

    def find(self, column: str | int, first: list[str]) -> int:
        """The position of a column, given by name or number; UserError when there is none."""
        if isinstance(column, int) and column < len(first):
            return column
        known = first if self.header else [str(number) for number in range(len(first))]
        if known.count(str(column)) != 1:
            count = "several columns" if str(column) in known else "no column"
            raise UserError(
                f"{self.path}: has {count} {str(column)!r}; it has {one_line(', '.join(known))}. "
                "--text-column and --text-pair-column name the one to read."
            )
        return known.index(str(column))

    def rows(self) -> Iterator[tuple[list[str], Any, str]]:
        """Yield cells, text (or pair of texts) and where the row is; UserError for one with too many or few cells."""
        while True:
            self.number += 1
            cells, self.first = (self.first or self.next_row()), None
            if cells is None:
                return
            if len(cells) != self.width:
                raise UserError(f"{self.where()}: has {len(cells)} columns, expected {self.width}.")
            texts = tuple(cells[column] for column in self.columns)
            yield cells, texts if len(texts) > 1 else texts[0], self.where()

    def chunks(self) -> Iterator[Chunk]:
        rows = self.rows()
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            yield tuple(map(list, zip(*chunk, strict=True)))


@contextmanager
def open_table(path: Path, layout: Layout) -> Iterator[Table]:
    """Open a file to be read; bytes that cannot be decoded become lone surrogates, by which their row is found."""
    encoding = "utf-8-sig" if layout.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else layout.encoding
    try:
        file = path.open(encoding=encoding, errors="surrogateescape", newline="")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    with file:
        yield Table(path, file, layout)


def check_names(table: Table, added: tuple[str, ...]) -> None:
    """UserError when the table has one of the columns that are to be added."""
    for name in added:
        if table.header and name in table.header:
            raise UserError(
                f"{table.path}: has a column {name!r} already; --prefix predicted_ adds predicted_label and "
                "predicted_probability instead."
            )


def write_answered(table: Table, answer: Answered, added: tuple[str, ...], out: Path | None) -> None:
    """Write the table with what `answer` adds to each row, in the same order.

    `out` appears whole or not at all; None is stdout, where rows appear a thousand at a time.
    """
    if out is None:
        sys.stdout.reconfigure(**written_as(table))
        write_rows(table, answer, added, sys.stdout)
        return
    with new_file(out) as part, part.open("w", newline="", **written_as(table)) as file:
        write_rows(table, answer, added, file)


def written_as(table: Table) -> dict[str, str]:
    """As it was read: bytes in other columns that cannot be decoded stay what they were."""
    return {"encoding": table.layout.encoding, "errors": "surrogateescape"}


def write_rows(table: Table, answer: Answered, added: tuple[str, ...], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n", **table.layout.format)
    if table.header:
        writer.writerow([*table.header, *added])
    size = table.path.stat().st_size or None  # a pipe has none
    with tqdm(total=size, unit="B", unit_scale=True, desc=table.path.name, delay=1, disable=file.isatty()) as bar:
        for rows, texts, where in table.chunks():
            answers = answer(texts, where)
            writer.writerows([*cells, *more] for cells, more in zip(rows, answers, strict=True))
            bar.update(table.file.buffer.tell() - bar.n if size else 0)
