"""Files of rows: CSV, JSON lines and Parquet, read one row at a time."""

import csv
import gzip
import itertools
import json
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.errors import UserError, one_line
from stages.core.params import Data
from stages.data.archives import Allowance
from stages.data.rows import Row

SUFFIXES = {"csv": ("csv", "tsv", "txt"), "json": ("jsonl", "json", "ndjson"), "parquet": ("parquet",)}
LONGEST_CELL = 1 << 28  # characters; beyond that a quote was not closed
ROWS_AT_ONCE = 1000
PART = re.compile(r"-(\d+)-of-(\d+)")  # of the names of files that are one table together


def read_table(path: Path, data: Data) -> Iterator[Row]:
    """Yield the rows of a file of the format `data.source`; UserError when it is not of that format."""
    yield from {"csv": read_csv, "json": read_json_lines, "parquet": read_parquet}[data.source](path, data)


def stem_of(name: str, source: str) -> str | None:
    """The name without its suffix and part number: "train" of `train-00000-of-00002.parquet`; None of other formats."""
    match = re.fullmatch(rf"(.+?)\.({'|'.join(SUFFIXES[source])})(\.gz)?", name)
    return match and PART.sub("", match[1])


@contextmanager
def open_lines(path: Path, data: Data) -> Iterator[Iterator[str]]:
    """Open for reading; bytes that cannot be decoded become lone surrogates, by which their row is found."""
    encoding = "utf-8-sig" if data.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else data.encoding
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding=encoding, errors="surrogateescape", newline="") as file:
            yield lines_of(path, file, data)
    except UnicodeError as error:
        raise UserError(f"{path}: cannot be read as {encoding} ({error}); set data.encoding to the file's.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}).") from None


def lines_of(path: Path, file: TextIO, data: Data) -> Iterator[str]:
    """Yield the lines; UserError when one does not end, or what is packed is larger than allowed: it may be a bomb."""
    allowance = Allowance(path, data.max_size_gb * 1e9 if path.suffix == ".gz" else math.inf)
    for number in itertools.count(1):
        line = file.readline(LONGEST_CELL + 1)
        allowance.take(len(line))
        if len(line) > LONGEST_CELL:
            raise UserError(f"{path}: line {number} is longer than {LONGEST_CELL:,} characters; is it a text file?")
        if not line:
            return
        yield line


def read_csv(path: Path, data: Data) -> Iterator[Row]:
    """Rows are counted from 1, behind the header; lines are the file's, in which a row may take several."""
    csv.field_size_limit(LONGEST_CELL)
    quoting = csv.QUOTE_MINIMAL if data.quotechar else csv.QUOTE_NONE
    with open_lines(path, data) as lines:
        reader = csv.reader(lines, delimiter=data.delimiter, quotechar=data.quotechar, quoting=quoting, strict=True)
        columns, width, number = None, 0, 0
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                if columns is None:
                    raise UserError(
                        f"{path}: its first row cannot be read as csv ({error}); see data.delimiter and data.quotechar."
                    ) from None
                number += 1
                if reader.line_num > line and data.on_bad_rows == "drop":  # how many rows that were, nobody knows
                    raise UserError(
                        f"{path}: the quote that opens in row {number} (line {line}) is not closed properly up to line "
                        f"{reader.line_num}, and so may have swallowed rows; mend it, or set data.quotechar to null."
                    ) from None
                yield Row(f"{path.name} row {number} (line {line})", fault="broken quotes")
                continue
            if cells is None:
                break
            if not cells:  # an empty line
                continue
            if columns is None:
                columns, width = find_columns(path, data, cells), len(cells)
                if data.header:
                    continue
            number += 1
            where = f"{path.name} row {number} (line {line})"
            if len(cells) != width:
                yield Row(where, fault="wrong number of columns")
            else:
                yield Row(where, *(None if column is None else cells[column] for column in columns))


def find_columns(path: Path, data: Data, first: list[str]) -> list[int | None]:
    """Positions of text, label and text pair in a CSV file; UserError names the ones it lacks."""
    positions: list[int | None] = []
    for key, column in columns_of(data):
        found = column
        if isinstance(column, str):
            if not data.header:
                raise UserError(
                    f"{key}: found {column!r}; with data.header false columns have numbers, 0 to {len(first) - 1}."
                )
            found = first.index(column) if column in first else -1
            if first.count(column) > 1:
                raise UserError(f"{key}: {path} has several columns {column!r}; give the number of one, from 0.")
        if found is not None and not 0 <= found < len(first):
            raise UserError(f"{key}: {path} has no column {column!r}; it has {describe(first, data)}.")
        positions.append(found)
    return positions


def describe(first: list[str], data: Data) -> str:
    if not data.header:
        return f"columns 0 to {len(first) - 1}"
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for name in first for letter in name):
        return f"a first row that is not {data.encoding}, so check data.encoding"
    alone = f"; one column only, so check data.delimiter, now {data.delimiter!r}" if len(first) == 1 else ""
    return f"{one_line(', '.join(first))}{alone} (data.header false: the first row is no header)"


def columns_of(data: Data) -> list[tuple[str, Any]]:
    keys = ("text_column", "label_column", "text_pair_column")
    return [(f"data.{key}", getattr(data, key)) for key in keys]


def read_json_lines(path: Path, data: Data) -> Iterator[Row]:
    names = [name for _, name in columns_of(data)]
    with open_lines(path, data) as lines:
        first = True
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{path.name} line {number}"
            first, was_first = False, first
            if was_first and line.lstrip().startswith("["):
                raise UserError(f"{path}: holds a JSON array; expected JSON lines, one object a line.")
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                yield Row(where, fault="not valid JSON")
                continue
            if not isinstance(values, dict):
                yield Row(where, fault="not a JSON object")
                continue
            lacking = [repr(name) for name in names if name is not None and name not in values]
            if lacking:
                yield Row(
                    f"{where} (has {one_line(', '.join(values))})", fault=f"missing column {' and '.join(lacking)}"
                )
            else:
                yield Row(where, *(None if name is None else values[name] for name in names))


def read_parquet(path: Path, data: Data) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for key, name in columns_of(data):
                if name is not None and names.count(name) != 1:
                    count = "no column" if name not in names else "several columns"
                    raise UserError(f"{key}: {path} has {count} {name!r}; it has {one_line(', '.join(names))}.")
            wanted = [name for _, name in columns_of(data) if name is not None]
            number = 0
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=wanted):
                columns = [batch.column(name).to_pylist() for name in wanted]
                for values in zip(*columns, strict=True):
                    number += 1
                    yield Row(f"{path.name} row {number}", *values)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({error}).") from None
