"""Parquet files whose texts are labelled: read in small batches, and written again with the output's columns added."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.csv_tables import ROWS_AT_ONCE
from stages.core.errors import UserError, to_one_line
from stages.inference.csv_file import Layout
from stages.inference.output_columns import OutputColumns, check_added_columns

ROW_GROUP_BYTES = 64 << 20  # of Arrow, which wait in memory for a row group to be written; on disk they are fewer
ARROW_TYPES = {
    str: pa.string(),
    float: pa.float64(),
    list[str]: pa.list_(pa.string()),
    list[float]: pa.list_(pa.float64()),
}
ORIGIN = b"text_classifier"  # the key in a file's metadata that says what labelled it
# Spark writes its schema here and reads it before that of the file, so that it would not see added columns.
SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"
Chunk = tuple[pa.RecordBatch, list[Any], list[str]]  # rows, and of each the text or pair of texts, and the location
LabelTexts = Callable[[list[Any], list[str]], list[list[Any]]]  # texts and locations → values of the added columns


class ParquetTask(NamedTuple):
    """What is the same for all files that a command labels."""

    layout: Layout  # which columns have the texts
    columns: OutputColumns
    prefix: str
    maker: dict[str, Any] = {}  # noqa: RUF012 - never changed; what decides the answers: the model, its precision ...

    @property
    def added_names(self) -> list[str]:
        return [f"{self.prefix}{name}" for name in self.columns.list_names()]

    @property
    def text_columns(self) -> dict[str, str | int]:
        """The columns of the texts, by the option that names them."""
        names = {"--text-column": self.layout.text_column, "--text-pair-column": self.layout.text_pair_column}
        return {option: name for option, name in names.items() if name is not None}

    def describe_origin(self, path: Path) -> dict[str, Any]:
        """What decides the output of a file: two outputs with the same origin have the same answers."""
        texts = list(self.text_columns.values())
        return self.maker | {
            "text_columns": texts,
            "added_columns": self.added_names,
            "input_bytes": path.stat().st_size,
        }

    def make_schema(self, file: "TextFile") -> pa.Schema:
        """The columns of the file and its metadata, with the columns added and the origin noted."""
        types = [ARROW_TYPES[kind] for kind in self.columns.list_types()]
        metadata = {key: value for key, value in (file.schema.metadata or {}).items() if key != SPARK_SCHEMA}
        metadata[ORIGIN] = json.dumps(self.describe_origin(file.path)).encode()
        return pa.schema([*file.schema, *map(pa.field, self.added_names, types)], metadata)


class TextFile:
    """An open Parquet file, and its rows with their texts.

    Raises UserError when it lacks a column that the task names, or has one that it adds.
    """

    def __init__(self, path: Path, file: pq.ParquetFile, task: ParquetTask):
        self.path, self.file, self.schema = path, file, file.schema_arrow
        self.rows = file.metadata.num_rows
        self.columns = [self.find_column(option, name) for option, name in task.text_columns.items()]
        check_added_columns(path, self.schema.names, task.columns.list_names(), task.prefix)

    def find_column(self, option: str, name: str | int) -> int:
        """The position of a column of texts."""
        key = f"{option} (default: data.{option.removeprefix('--').replace('-', '_')})"
        names = self.schema.names
        if names.count(name) != 1:
            count = "several columns" if name in names else "no column"
            raise UserError(f"{key}: {self.path} has {count} {name!r}; it has {to_one_line(', '.join(names))}.")
        kind = self.schema.field(name).type
        value_kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if value_kind not in (pa.string(), pa.large_string(), pa.string_view()):
            raise UserError(f"{key}: the column {name!r} of {self.path} is {kind}; texts are strings.")
        return names.index(name)

    def read_chunks(self) -> Iterator[Chunk]:
        """Yield the rows in batches, in their order; UserError for the first text that is null or not UTF-8."""
        number = 0
        for batch in read_batches(self.path, self.file):
            locations = [f"{self.path} row {number + place}" for place in range(1, len(batch) + 1)]
            texts = [read_texts(batch.column(column), locations) for column in self.columns]
            yield batch, list(zip(*texts, strict=True)) if len(texts) > 1 else texts[0], locations
            number += len(batch)


@contextmanager
def open_texts(path: Path, task: ParquetTask) -> Iterator[TextFile]:
    """Open a file for reading; UserError when it is not Parquet, or its columns do not fit the task.

    It is read through a buffer, so that row groups of any size need little memory. Timestamps in the old form of 12
    bytes become microseconds, in which Spark wrote them: nanoseconds, the default, Spark itself could not read again.
    """
    try:
        file = pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False, coerce_int96_timestamp_unit="us")
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({to_one_line(str(error).strip())}).") from None
    with file:
        yield TextFile(path, file, task)


def read_batches(path: Path, file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    try:
        yield from (batch for batch in file.iter_batches(ROWS_AT_ONCE) if len(batch))
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({to_one_line(str(error).strip())}).") from None


def read_texts(column: pa.Array, locations: Sequence[str]) -> list[str]:
    """The texts of a column; UserError for the first that is null or not UTF-8, named by its location."""
    texts = []
    for value, location in zip(column, locations, strict=True):
        try:
            text = value.as_py()
        except UnicodeDecodeError:
            raise UserError(f"{location}: text is not UTF-8.") from None
        if text is None:
            raise UserError(f"{location}: text is null; remove the row, or give it a text.")
        texts.append(text)
    return texts


def write_labelled(
    file: TextFile, label_texts: LabelTexts, task: ParquetTask, out: Path, show_rows: Callable[[int], Any]
) -> None:
    """Write the rows of a file, in the same order, with the added columns; `show_rows` is told of each batch."""
    schema = task.make_schema(file)
    types = schema.types[len(file.schema) :]
    group, size = [], 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for batch, texts, locations in file.read_chunks():
            values = zip(*label_texts(texts, locations), strict=True)
            added = [pa.array(column, kind) for column, kind in zip(values, types, strict=True)]
            group.append(pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema))
            size += group[-1].nbytes
            if size >= ROW_GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(group, schema))
                group, size = [], 0
            show_rows(len(batch))
        if group:
            writer.write_table(pa.Table.from_batches(group, schema))


def read_origin(path: Path) -> dict[str, Any]:
    """What labelled a file; UserError when it is broken, or no file of `write_labelled`."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
        return json.loads(metadata[ORIGIN])
    except (pa.ArrowException, OSError, KeyError, ValueError):
        raise UserError(f"{path}: was not written by stages.predict; give another --out, or delete it.") from None
