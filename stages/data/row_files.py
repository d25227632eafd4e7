"""Files of rows in CSV, JSON lines or Parquet, read one row at a time."""

import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.csv_tables import (
    ROWS_AT_ONCE,
    CsvFormat,
    CsvRow,
    decode,
    find_column,
    read_csv_rows,
    read_lines,
)  # fmt: skip
from stages.core.errors import UserError, to_one_line
from stages.core.param_sections import Data
from stages.data.archives import SizeLimit
from stages.data.rows import Row

SUFFIXES = {"csv": ("csv", "tsv", "txt"), "json": ("jsonl", "json", "ndjson"), "parquet": ("parquet",)}
PART_NUMBER = re.compile(r"-(\d+)-of-(\d+)")  # in the names of files that are one table together


def read_table(path: Path, data: Data) -> Iterator[Row]:
    """Yield the rows of a file of the format `data.source`; UserError when it is not of that format."""
    yield from {"csv": read_csv, "json": read_json_lines, "parquet": read_parquet}[data.source](path, data)


def parse_file_name(name: str, source: str) -> str | None:
    """The name without its suffix and part number, which may be a split's: "train" of `train-00000-of-00002.parquet`.

    None when the suffix is of another format.
    """
    match = re.fullmatch(rf"(.+?)\.({'|'.join(SUFFIXES[source])})(\.gz)?", name)
    return PART_NUMBER.sub("", match[1]) if match else None


@contextmanager
def open_lines(path: Path, data: Data) -> Iterator[Iterator[str]]:
    """Open a text file, which may be packed with gzip; UserError when it holds more than `data.max_size_gb`."""
    is_packed = path.suffix == ".gz"
    try:
        with gzip.open(path) if is_packed else path.open("rb") as binary, decode(binary, data.encoding) as file:
            lines = read_lines(path, file)
            yield limit_size(lines, SizeLimit(path, data.max_size_gb * 1e9)) if is_packed else lines
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None


def limit_size(lines: Iterator[str], limit: SizeLimit) -> Iterator[str]:
    for line in lines:
        limit.count(len(line))
        yield line


def read_csv(path: Path, data: Data) -> Iterator[Row]:
    """Yield the rows of a CSV file; one that cannot be read has an `error`."""
    form = CsvFormat(data.encoding, data.header, data.delimiter, data.quotechar)
    with open_lines(path, data) as lines:
        rows = read_csv_rows(lines, form)
        first = next(rows, None)
        if first is None:
            return
        if first.error:
            raise UserError(
                f"{path}: its first row cannot be read as csv ({first.error}); see data.delimiter and data.quotechar."
            )
        columns = [
            None if column is None else find_column(path, key, column, first.cells, form)
            for key, column in list_columns(data)
        ]
        for row in rows if data.header else chain([first], rows):
            location = f"{path.name} row {row.number} (line {row.line})"
            if row.error:
                check_quote(path, row, data)
                yield Row(location, error="broken quotes")
            elif len(row.cells) != len(first.cells):
                yield Row(location, error="wrong number of columns")
            else:
                yield Row(location, *(None if column is None else row.cells[column] for column in columns))


def check_quote(path: Path, row: CsvRow, data: Data) -> None:
    """UserError when broken rows are to be dropped, and this one takes several lines: they may have been good rows."""
    if row.last_line > row.line and data.on_bad_rows == "drop":
        raise UserError(
            f"{path}: the quote that opens in row {row.number} (line {row.line}) is not closed properly up to line "
            f"{row.last_line}, so the rows between may be lost; correct it, or set data.quotechar to null."
        )


def list_columns(data: Data) -> list[tuple[str, Any]]:
    """Key and value of the params that name the columns of text, label and second text."""
    keys = ("text_column", "label_column", "text_pair_column")
    return [(f"data.{key}", getattr(data, key)) for key in keys]


def read_json_lines(path: Path, data: Data) -> Iterator[Row]:
    """Yield the rows of a file with a JSON object in each line; one that cannot be read has an `error`."""
    names = [name for _, name in list_columns(data)]
    is_first = True
    with open_lines(path, data) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if is_first and line.lstrip().startswith("["):
                raise UserError(f"{path}: contains a JSON array; expected JSON lines, one object for each line.")
            is_first = False
            yield parse_json_row(line, f"{path.name} line {number}", names)


def parse_json_row(line: str, location: str, names: list[Any]) -> Row:
    """The values of text, label and second text, which have these names, in a line of JSON."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return Row(location, error="not valid JSON")
    if not isinstance(values, dict):
        return Row(location, error="not a JSON object")
    missing = [repr(name) for name in names if name is not None and name not in values]
    if missing:
        found = to_one_line(", ".join(values))
        return Row(f"{location} (has {found})", error=f"missing column {' and '.join(missing)}")
    return Row(location, *(None if name is None else values[name] for name in names))


def read_parquet(path: Path, data: Data) -> Iterator[Row]:
    """Yield the rows of a Parquet file."""
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for key, name in list_columns(data):
                if name is not None and names.count(name) != 1:
                    count = "no column" if name not in names else "several columns"
                    raise UserError(f"{key}: {path} has {count} {name!r}; it has {to_one_line(', '.join(names))}.")
            wanted = [name for _, name in list_columns(data) if name is not None]
            number = 0
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=wanted):
                columns = [batch.column(name).to_pylist() for name in wanted]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield Row(f"{path.name} row {number}", *values)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error}).") from None
