"""CSV files whose texts are labelled: read in chunks, and written again with the output's columns added."""

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader, BytesIO, TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tqdm import tqdm

from stages.core.csv_tables import (
    ROWS_AT_ONCE,
    CsvFormat,
    CsvRow,
    CsvWriter,
    decode,
    find_column,
    read_csv_rows,
    read_lines,
)  # fmt: skip
from stages.core.errors import UserError, to_one_line
from stages.core.files import new_file


class Layout(NamedTuple):
    """Which columns of a CSV file have the texts, and its format: keys of the section `data` of params.yaml."""

    text_column: str | int = "text"
    text_pair_column: str | int | None = None
    encoding: str = "utf-8"
    header: bool = True
    delimiter: str = ","
    quotechar: str | None = '"'

    @property
    def csv_format(self) -> CsvFormat:
        return CsvFormat(self.encoding, self.header, self.delimiter, self.quotechar)


ENCODING_ERRORS = "surrogateescape"  # bytes that could not be decoded are written as they were
Chunk = tuple[list[list[str]], list[Any], list[str]]  # of each row: cells, text or pair of texts, location
LabelTexts = Callable[[list[Any], list[str]], list[list[str]]]  # texts and locations → cells of the added columns


class TextTable:
    """An open CSV file: its header, if it has one, and its rows with their texts.

    Raises UserError when the file is empty, or lacks a column that the layout names.
    """

    def __init__(self, path: Path, file: BufferedReader, layout: Layout):
        self.path, self.file, self.layout = path, file, layout
        self.text = decode(file, layout.encoding)  # kept, because it closes the file when it is deleted
        rows = read_csv_rows(read_lines(path, self.text), layout.csv_format)
        first = next(rows, None)
        if first is None:
            raise UserError(f"{path}: is empty.")
        self.check_quotes(first)
        self.header = first.cells if layout.header else None
        self.width = len(first.cells)
        self.rows = rows if layout.header else chain([first], rows)
        self.columns = [self.find_column("text_column", first.cells)]
        if layout.text_pair_column is not None:
            self.columns.append(self.find_column("text_pair_column", first.cells))

    def find_column(self, field: str, first: list[str]) -> int:
        """The position of a column that the layout names."""
        column = read_number(getattr(self.layout, field), self.header)
        key = f"--{field.replace('_', '-')} (default: data.{field})"
        return find_column(self.path, key, column, first, self.layout.csv_format)

    def locate(self, row: CsvRow) -> str:
        """Where a row is in the file, for messages."""
        return f"{self.path} row {row.number} (line {row.line})" if row.number else f"{self.path} line {row.line}"

    def check_quotes(self, row: CsvRow) -> None:
        if row.error:
            raise UserError(f"{self.locate(row)}: cannot be read as csv ({row.error}).")

    def read_rows(self) -> Iterator[tuple[list[str], Any, str]]:
        """Yield cells, text (or pair of texts) and location of each row; UserError at the first broken row."""
        for row in self.rows:
            self.check_quotes(row)
            if len(row.cells) != self.width:
                raise UserError(f"{self.locate(row)}: has {len(row.cells)} columns, expected {self.width}.")
            texts = tuple(row.cells[column] for column in self.columns)
            yield row.cells, texts if len(texts) > 1 else texts[0], self.locate(row)

    def read_chunks(self) -> Iterator[Chunk]:
        rows = self.read_rows()
        while chunk := list(islice(rows, ROWS_AT_ONCE)):
            cells, texts, locations = zip(*chunk, strict=True)
            yield list(cells), list(texts), list(locations)


def read_number(column: str | int, header: Sequence[str] | None) -> str | int:
    """A column as `find_column` takes it: from the command line a number comes as text, unless it is a name."""
    is_number = isinstance(column, str) and column.isdecimal() and column not in (header or ())
    return int(column) if is_number else column


@contextmanager
def open_table(path: Path, layout: Layout) -> Iterator[TextTable]:
    """Open a file for reading; bytes that cannot be decoded stay in the text as lone surrogates."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    with file:
        yield TextTable(path, file, layout)


def check_labels(table: TextTable, labels: Sequence[str]) -> None:
    """Raise UserError when the format of the table cannot hold one of the labels that may be added."""
    form = table.layout.csv_format
    for label in labels:
        writer = CsvWriter(TextIOWrapper(BytesIO(), form.encoding, ENCODING_ERRORS), form)
        writer.write_row([label, ""], f"{table.path}: the label '{to_one_line(label)}' of the model")


def write_table(table: TextTable, label_texts: LabelTexts, names: Sequence[str], out: Path | None) -> None:
    """Write the table, its rows in the same order, with columns of these names added.

    The file `out` appears when it is complete, or not at all. None is stdout, where rows appear a chunk at a time. So
    they do in what is no file, such as a pipe.
    """
    encoding = table.layout.encoding
    if out is None:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding=encoding, errors=ENCODING_ERRORS, newline="")
        write_rows(table, label_texts, names, sys.stdout)
        return
    with open_output(out) as path, path.open("w", newline="", encoding=encoding, errors=ENCODING_ERRORS) as file:
        write_rows(table, label_texts, names, file)


@contextmanager
def open_output(out: Path) -> Iterator[Path]:
    """Yield the path to write to, so that links and what is no regular file, such as /dev/null, stay what they are."""
    try:
        mode = out.stat().st_mode  # of what a link points to
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        yield out
        return
    with new_file(Path(os.path.realpath(out))) as part:
        if mode is not None:
            part.touch(0o600)
            part.chmod(stat.S_IMODE(mode))  # a file that others may not read stays so
        yield part


def write_rows(table: TextTable, label_texts: LabelTexts, names: Sequence[str], file: TextIO) -> None:
    writer = CsvWriter(file, table.layout.csv_format)
    if table.header:
        writer.write_row([*table.header, *names], f"{table.path} line 1")
    size = table.path.stat().st_size or None  # a pipe has no size
    with tqdm(total=size, unit="B", unit_scale=True, desc=table.path.name, delay=1, disable=file.isatty()) as bar:
        for rows, texts, locations in table.read_chunks():
            added = label_texts(texts, locations)
            for cells, more, location in zip(rows, added, locations, strict=True):
                writer.write_row([*cells, *more], location)
            bar.update(table.file.tell() - bar.n if size else 0)
