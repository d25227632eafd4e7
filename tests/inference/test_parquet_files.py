import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import UserError
from stages.inference import parquet_files
from stages.inference.csv_file import Layout
from stages.inference.output_columns import Answer, OutputColumns
from stages.inference.parquet_files import SPARK_SCHEMA, ParquetTask, open_texts, read_origin, write_labelled

SCORES = {"a": 0.75, "b": 0.25}
ANSWER = Answer("a", 0.75, SCORES, False, False)
TASK = ParquetTask(Layout(), OutputColumns(["a", "b"]), "", {"model": "one"})


@pytest.fixture
def label(tmp_path):
    """Label a table as if the model's answer was always the same; return what was written."""

    def label(table, task=TASK, answer=ANSWER, **options):
        pq.write_table(table, tmp_path / "in.parquet", **options)

        def label_texts(texts, locations):
            return [task.columns.make_values(answer) for _ in texts]

        with open_texts(tmp_path / "in.parquet", task) as file:
            write_labelled(file, label_texts, task, tmp_path / "out.parquet", lambda rows: None)
        return pq.read_table(tmp_path / "out.parquet")

    return label


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_texts_may_have_any_type_of_strings(label, kind, monkeypatch):
    monkeypatch.setattr(parquet_files, "ROWS_AT_ONCE", 3)
    texts = pa.array([f"text {number % 5}" for number in range(10)])
    texts = pa.array(texts.to_pylist(), kind) if kind == pa.string_view() else texts.cast(kind)
    written = label(pa.table({"text": texts}), row_group_size=4)
    assert written["text"].type == kind
    assert written["text"].to_pylist() == texts.to_pylist()
    assert written["label"].to_pylist() == ["a"] * 10


def test_all_columns_and_their_metadata_are_kept(label):
    fields = [pa.field("text", pa.string(), metadata={"of": "field"}), pa.field("vector", pa.list_(pa.float32()))]
    fields += [pa.field("at", pa.timestamp("ns", "UTC")), pa.field("nested", pa.struct([("n", pa.int8())]))]
    rows = [["x", "y"], [[0.5, 1.5], None], [1, None], [{"n": 1}, {"n": None}]]
    table = pa.table([pa.array(*pair) for pair in zip(rows, [field.type for field in fields], strict=True)],
                     pa.schema(fields, {"note": "kept"}))  # fmt: skip
    written = label(table)
    assert written.select(table.schema.names).equals(table)
    assert [written.schema.field(name).metadata for name in ("text", "at")] == [{b"of": b"field"}, None]
    assert written.schema.metadata[b"note"] == b"kept"
    assert written.schema.types[4:] == [pa.string(), pa.float64()]


def test_pandas_reads_its_index_and_the_added_columns(label, tmp_path):
    frame = pd.DataFrame({"text": ["x", "y"], "n": np.array([1, 2], "int8")}, index=pd.Index([5, 6], name="id"))
    label(pa.Table.from_pandas(frame))
    written = pd.read_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(written[["text", "n"]], frame)
    assert written["label"].tolist() == ["a", "a"]


def test_files_of_spark_can_be_read_by_spark_again(label):
    """It would read the old columns alone from its own schema, and refuses timestamps of nanoseconds."""
    times = pa.array([0], pa.timestamp("ns"))
    table = pa.table({"text": ["x"], "at": times}).replace_schema_metadata({SPARK_SCHEMA: "{}"})
    written = label(table, use_deprecated_int96_timestamps=True, store_schema=False)
    assert written.schema.field("at").type == pa.timestamp("us")
    assert set(written.schema.metadata) == {b"text_classifier"}


def test_row_groups_are_of_a_useful_size(label, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(parquet_files, "ROW_GROUP_BYTES", 1000)
    label(pa.table({"text": ["x" * 10] * 100}))
    metadata = pq.read_metadata(tmp_path / "out.parquet")
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [40, 40, 20]


def test_an_empty_file_becomes_an_empty_file_with_the_columns(label):
    written = label(pa.table({"text": pa.array([], pa.string())}))
    assert (written.num_rows, written.schema.names) == (0, ["text", "label", "probability"])


def test_no_label_is_null_and_scores_and_next_labels_are_numbers_and_texts(label):
    task = TASK._replace(columns=OutputColumns(["a", "b"], top_k=2, has_scores=True), prefix="my_")
    written = label(pa.table({"text": ["x"]}), task, Answer("", 0.75, SCORES, True, False))
    assert written.to_pylist() == [
        {"text": "x", "my_label": None, "my_probability": 0.75, "my_label_2": "b", "my_probability_2": 0.25,
         "my_score_a": 0.75, "my_score_b": 0.25}
    ]  # fmt: skip


def test_several_labels_are_lists(label):
    task = TASK._replace(columns=OutputColumns(["a", "b"], has_several=True))
    written = label(pa.table({"text": ["x"]}), task, Answer(["a", "b"], [0.75, 0.5], SCORES, False, False))
    assert written.schema.types[1:] == [pa.list_(pa.string()), pa.list_(pa.float64())]
    assert written.to_pylist() == [{"text": "x", "label": ["a", "b"], "probability": [0.75, 0.5]}]


def test_a_file_says_what_labelled_it(label, tmp_path):
    label(pa.table({"text": ["x"]}))
    assert read_origin(tmp_path / "out.parquet") == {
        "model": "one",
        "text_columns": ["text"],
        "added_columns": ["label", "probability"],
        "input_bytes": (tmp_path / "in.parquet").stat().st_size,
    }
    with pytest.raises(UserError, match=r"in.parquet: was not written by stages.predict; give another --out"):
        read_origin(tmp_path / "in.parquet")


NOT_UTF_8 = pa.array([b"x", b"caf\xe9"]).view(pa.string())


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"body": ["x"]},
            r"--text-column \(default: data.text_column\): .*in.parquet has no column 'text'; it has body",
        ),
        ({"text": [1]}, r"--text-column .*: the column 'text' of .*in.parquet is int64; texts are strings"),
        ({"text": ["x"], "label": ["y"]}, r"in.parquet: has a column 'label' already; --prefix predicted_ adds"),
        ({"text": ["x", None]}, r"in.parquet row 2: text is null; remove the row, or give it a text"),
        ({"text": NOT_UTF_8}, r"in.parquet row 2: text is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_labelled_is_an_error_that_names_column_or_row(label, columns, message):
    with pytest.raises(UserError, match=message):
        label(pa.table(columns))


@pytest.mark.parametrize(("start", "end"), [(0, 50), (0, -20), (40, None)])
def test_a_broken_file_is_an_error(tmp_path, start, end):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": [f"text {number}" for number in range(999)]}), path)
    path.write_bytes(b"\0" * start + path.read_bytes()[start:end])
    with (
        pytest.raises(UserError, match=r"in.parquet: cannot be read as Parquet \(.+\)\."),
        open_texts(path, TASK) as file,
    ):
        list(file.read_chunks())
