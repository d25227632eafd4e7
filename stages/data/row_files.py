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
from stages.core.data_section import Data
from stages.core.errors import UserError, to_one_line
from stages.data.archives import SizeLimit
from stages.data.rows import Row, list_columns, make_row

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
        columns = [find_column(path, key, column, first.cells, form) for key, column in list_columns(data)]
        for row in rows if data.header else chain([first], rows):
            location = f"{path.name} row {row.number} (line {row.line})"
            if row.error:
                check_quote(path, row, data)
                yield Row(location, error="broken quotes")
            elif len(row.cells) != len(first.cells):
                yield Row(location, error="wrong number of columns")
            else:
                yield make_row(location, [row.cells[column] for column in columns], data)


def check_quote(path: Path, row: CsvRow, data: Data) -> None:
    """UserError when broken rows are to be dropped, and this one takes several lines: they may have been good rows."""
    if row.last_line > row.line and data.on_bad_rows == "drop":
        raise UserError(
            f"{path}: the quote that opens in row {row.number} (line {row.line}) is not closed properly up to line "
            f"{row.last_line}, so the rows between may be lost; correct it, or set data.quotechar to null."
        )


def read_json_lines(path: Path, data: Data) -> Iterator[Row]:
    """Yield the rows of a file with a JSON object in each line; one that cannot be read has an `error`.

    A slice is missing where an object lacks its name, but UserError when all objects of the file lack it.
    """
    unseen, is_first, has_objects = set(data.slice_columns or []), True, False
    columns = list_columns(data)
    with open_lines(path, data) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if is_first and line.lstrip().startswith("["):
                raise UserError(f"{path}: contains a JSON array; expected JSON lines, one object for each line.")
            is_first = False
            location = f"{path.name} line {number}"
            values = parse_json_object(line)
            if isinstance(values, str):
                yield Row(location, error=values)
                continue
            has_objects = True
            unseen -= values.keys()
            yield take_values(values, location, columns, data)
    if has_objects and unseen:
        raise UserError(f"data.slice_columns: {path} has no {min(map(repr, unseen))} in any of its objects.")


def parse_json_object(line: str) -> dict[Any, Any] | str:
    """The object in a line of JSON, or why there is none."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return "not valid JSON"
    return values if isinstance(values, dict) else "not a JSON object"


def take_values(values: dict[Any, Any], location: str, columns: list[tuple[str, str | int]], data: Data) -> Row:
    """The values of a JSON object that are in these columns; only slices may be missing."""
    missing = [repr(name) for key, name in columns if name not in values and key != "data.slice_columns"]
    if missing:
        found = to_one_line(", ".join(values))
        return Row(f"{location} (has {found})", error=f"missing column {' and '.join(missing)}")
    return make_row(location, [values.get(name) for _, name in columns], data)


def read_parquet(path: Path, data: Data) -> Iterator[Row]:
    """Yield the rows of a Parquet file."""
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for key, name in list_columns(data):
                if names.count(name) != 1:
                    count = "no column" if name not in names else "several columns"
                    raise UserError(f"{key}: {path} has {count} {name!r}; it has {to_one_line(', '.join(names))}.")
            wanted = [name for _, name in list_columns(data)]
            number = 0
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(dict.fromkeys(wanted))):
                columns = [batch.column(name).to_pylist() for name in wanted]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield make_row(f"{path.name} row {number}", values, data)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error}).") from None
