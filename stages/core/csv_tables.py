"""CSV files: tables that the stages write, and files of users in any encoding and dialect."""

import codecs
import csv
import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from gzip import GzipFile
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from stages.core.errors import UserError, to_one_line
from stages.core.files import new_file

LONGEST_CELL = 1 << 28  # characters; a cell gets longer only when its closing quote is missing
ROWS_AT_ONCE = 1000  # rows of a table, of any format, that are in memory together; no output depends on it


class CsvFormat(NamedTuple):
    """How a CSV file is written: keys of the section `data` of params.yaml."""

    encoding: str = "utf-8"
    header: bool = True
    delimiter: str = ","
    quotechar: str | None = '"'

    @property
    def dialect(self) -> dict[str, Any]:
        """The arguments of `csv.reader` and `csv.writer`."""
        quoting = csv.QUOTE_MINIMAL if self.quotechar else csv.QUOTE_NONE
        return {"delimiter": self.delimiter, "quotechar": self.quotechar, "quoting": quoting}


class CsvRow(NamedTuple):
    """A row of a CSV file: its cells, or the error where its quotes are broken."""

    number: int  # counted from 1; a header is row 0
    line: int  # of the file, in which the row begins, counted from 1; a row may take several lines
    last_line: int
    cells: list[str]
    error: str | None = None


class CsvWriter:
    """Writes rows that `read_csv_rows`, Python's `csv` and pandas read back equal, whatever texts are in them.

    Lines have Unix ends. The file must be open with `newline=""`.
    """

    def __init__(self, file: TextIO, form: CsvFormat):
        self.file, self.form = file, form
        self.is_first = True
        # Python 3.11 quotes a carriage return only where it is a part of the line end.
        self.writer = csv.writer(self, lineterminator="\r\n", **form.dialect)

    def write_row(self, cells: Iterable[Any], location: str) -> None:
        """Write a row; UserError, which begins with `location`, when the format cannot hold it: then none of it."""
        try:
            self.writer.writerow(cells)
        except csv.Error:
            raise UserError(
                f"{location}: cannot be written as csv without quotes, because a cell holds a line end or the "
                f"delimiter {self.form.delimiter!r}; set data.quotechar to a character, or take another delimiter."
            ) from None
        except UnicodeEncodeError as error:
            letters = to_one_line(error.object[error.start : error.end])
            raise UserError(
                f"{location}: {letters!r} cannot be written as {self.form.encoding}; set data.encoding to one that "
                "can, such as utf-8."
            ) from None

    def write(self, line: str) -> None:
        """Write one line of the file; `csv.writer` calls it once a row."""
        # Readers take the first character of a file for a byte order mark if it is one. So a text gets a second one.
        mark = "\ufeff" * (self.is_first and line.startswith("\ufeff") and is_utf_8(self.form.encoding))
        self.file.write(f"{mark}{line[:-2]}\n")
        self.is_first = False


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table with Unix line ends; UserError when a text in it cannot be written as UTF-8."""
    with new_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = CsvWriter(file, CsvFormat())
        for number, row in enumerate(itertools.chain([header], rows)):
            writer.write_row(row, f"{path} row {number}")


def read_csv(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """These columns of each row of a table that `write_csv` wrote; ValueError when it is broken, else OSError."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = read_csv_rows(file, CsvFormat())
        header = next(rows, CsvRow(0, 1, 1, [])).cells
        positions = [header.index(column) for column in columns if column in header]
        if len(positions) < len(columns):
            raise ValueError(f"it has no columns {' and '.join(columns)}")
        found = []
        for row in rows:
            if row.error or len(row.cells) != len(header):
                raise ValueError(f"line {row.line} is broken")
            found.append([row.cells[position] for position in positions])
    return found


def read_numbers(path: Path) -> list[dict[str, float]]:
    """The rows of a table of numbers that `train` wrote; UserError when it is missing or broken."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run `dvc repro train`, which makes it.") from None


def decode(file: BufferedReader | GzipFile, encoding: str) -> TextIOWrapper:
    """Read a file as text, without a byte order mark.

    Bytes that cannot be decoded become lone surrogates (PEP 383), so that the row that holds them can be named, and
    can be written again as it was.
    """
    return TextIOWrapper(file, "utf-8-sig" if is_utf_8(encoding) else encoding, errors="surrogateescape", newline="")


def is_utf_8(encoding: str) -> bool:
    """Whether this is one of the names of UTF-8, as Python knows them."""
    return codecs.lookup(encoding).name == "utf-8"


def read_lines(path: Path, file: TextIOWrapper) -> Iterator[str]:
    """Yield the lines of a text file, which may be unpacked from `path` as it is read.

    UserError when it cannot be read or decoded, or when a line is longer than LONGEST_CELL, before all of the line is
    in memory.
    """
    for number in itertools.count(1):
        try:
            line = file.readline(LONGEST_CELL + 1)
        except UnicodeError as error:
            raise UserError(
                f"{path}: cannot be read as {file.encoding} ({error}); set data.encoding to the file's encoding."
            ) from None
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: cannot be read ({error}).") from None
        if len(line) > LONGEST_CELL:
            raise UserError(f"{path}: line {number} is longer than {LONGEST_CELL:,} characters; is it a text file?")
        if not line:
            return
        yield line


def read_csv_rows(lines: Iterable[str], form: CsvFormat) -> Iterator[CsvRow]:
    """Yield all rows but empty lines, the header too; after a row with an error, reading continues with the next line.

    Rows are counted from 1, after the header.
    """
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(lines, strict=True, **form.dialect)
    number = 0 if form.header else 1
    while True:
        line = reader.line_num + 1
        cells, error = None, None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as caught:
            error = str(caught)
        if cells or error:
            yield CsvRow(number, line, reader.line_num, cells or [], error)
            number += 1


def find_column(path: Path, key: str, column: str | int, first: list[str], form: CsvFormat) -> int:
    """The position of a column, which is given by its name or its number, from 0; `first` is the file's first row.

    UserError when there is no such column, or more than one: it begins with `key`, which the user has to change.
    """
    if isinstance(column, int):
        position = column
    elif not form.header:
        raise UserError(f"{key}: found {column!r}; with data.header false columns have numbers, 0 to {len(first) - 1}.")
    elif first.count(column) > 1:
        raise UserError(f"{key}: {path} has several columns {column!r}; give the number of one, from 0.")
    else:
        position = first.index(column) if column in first else -1
    if not 0 <= position < len(first):
        raise UserError(f"{key}: {path} has no column {column!r}; it has {describe_columns(first, form)}.")
    return position


def describe_columns(first: list[str], form: CsvFormat) -> str:
    """The columns of a file, with the params to check when they look wrong."""
    if not form.header:
        return f"columns 0 to {len(first) - 1}"
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for name in first for letter in name):
        return f"a first row that is not {form.encoding}, so check data.encoding"
    if len(first) == 1:
        return f"only one, {to_one_line(first[0])!r}, so check data.delimiter, now {form.delimiter!r}"
    return f"{to_one_line(', '.join(first))} (data.header false: the first row is no header)"
