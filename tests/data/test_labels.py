import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.data_section import Data
from stages.core.errors import UserError
from stages.data.labels import BadRow, LabelReader, LabelSets

# Forty rows: each third one is about the bill, each fourth one about a bug, and some are about neither.
LABELS = [["bill"] * (number % 3 == 0) + ["bug"] * (number % 4 == 0) for number in range(40)]
TEXTS = [f"text {number}" for number in range(40)]
COLUMNS = {"label_column": ["bill", "bug"]}


def collect(rows):
    return sorted(((text, label) for found in rows.values() for text, label in found), key=lambda row: int(row[0][5:]))


EXPECTED = list(zip(TEXTS, LABELS, strict=True))


@pytest.mark.parametrize("separator", ["|", "; ", "\\t", " "])
def test_a_separator_splits_labels_and_an_empty_cell_has_none(workspace, read, separator):
    between = separator.replace("\\t", "\t")
    lines = [f'{text},"{between.join(reversed(labels))}"' for text, labels in EXPECTED]
    (workspace / "all.csv").write_text("\n".join(["text,label", *lines]))
    rows, manifest = read(source="csv", path="all.csv", label_separator=separator)
    assert collect(rows) == EXPECTED
    assert (manifest["problem_type"], manifest["labels"]) == ("multi_label_classification", ["bill", "bug"])
    counts = [manifest["splits"][split]["classes"] for split in ("train", "validation", "test")]
    assert sum(of_split["bill"] for of_split in counts) == 14


@pytest.mark.parametrize("source", ["json", "parquet"])
def test_lists_of_labels_need_no_separator(workspace, read, source):
    rows = [{"text": text, "label": labels} for text, labels in EXPECTED]
    (workspace / "all.json").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), workspace / "all.parquet")
    rows, manifest = read(source=source, path=f"all.{source}")
    assert collect(rows) == EXPECTED
    assert manifest["problem_type"] == "multi_label_classification"


@pytest.mark.parametrize("values", [("0", "1"), (0, 1), (0.0, 1.0), (False, True), ("false", "True"), ("0.0", "1.0")])
def test_columns_of_0_and_1_are_labels_in_their_order(read_rows, values):
    rows = [{"text": text} | {name: values[name in labels] for name in ("bug", "bill")} for text, labels in EXPECTED]
    rows, manifest = read_rows(rows, label_column=["bug", "bill"])
    assert manifest["labels"] == ["bug", "bill"]
    assert [(text, labels[::-1]) for text, labels in collect(rows)] == EXPECTED


def test_columns_of_a_csv_may_be_numbers_with_names(workspace, read):
    lines = [f"{text},{int('bill' in labels)},{int('bug' in labels)}" for text, labels in EXPECTED]
    (workspace / "all.csv").write_text("\n".join(lines))
    names = {1: "bill", 2: "bug"}
    form = {"header": False, "text_column": 0, "label_column": [1, 2]}
    rows, _ = read(source="csv", path="all.csv", label_names=names, **form)
    assert collect(rows) == EXPECTED
    assert read(source="csv", path="all.csv", **form)[1]["labels"] == ["1", "2"]


@pytest.mark.parametrize("value", [2, "yes", "", None, 0.5, [1]])
def test_a_label_column_of_another_value_makes_a_bad_row(read_rows, value):
    rows = [{"text": text, "bill": value if text == "text 7" else 1, "bug": 0} for text in TEXTS]
    with pytest.raises(UserError, match=r"\n  column bill is neither 0 nor 1 \(1\): all.jsonl line 8\n"):
        read_rows(rows, **COLUMNS)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (None, "missing label"),
        (["bill", None], "missing label"),
        ("bill", "label is no list, unlike the labels before"),
        ("", "missing label"),
        ([["bill"]], "label is neither text nor a number"),
        ({"bill": 1}, "label is neither text nor a number"),
    ],
)
def test_a_label_of_another_kind_among_lists_makes_a_bad_row(read_rows, label, reason):
    rows = [{"text": text, "label": labels} for text, labels in EXPECTED]
    with pytest.raises(UserError, match=rf"\n  {reason} \(1\): all.jsonl line 41\n"):
        read_rows([*rows, {"text": "x", "label": label}])


def test_null_is_a_bad_row_with_a_separator_and_so_is_a_list():
    reader = LabelReader(Data(source="json", path="x", label_separator="|"))
    assert reader.read(" a |b||a| ") == ("a", "b")
    assert (reader.read(""), reader.read(3), reader.read("true")) == ((), ("3",), ("true",))
    for value, reason in ((None, "missing label"), (float("nan"), "missing"), (["a"], "label is a list already")):
        with pytest.raises(BadRow, match=reason):
            reader.read(value)


def test_a_separator_that_no_label_has_is_an_error_with_two_labels(read_rows):
    rows = [{"text": text, "label": ["bill;bug", "bug", ""][number % 3]} for number, text in enumerate(TEXTS)]
    message = (
        r"data.label_separator: found '\|', which no label of given/all.jsonl contains; there is 'bill;bug' and 'bug'"
    )
    for more in ({}, {"label_names": {"bill": "B", "bug": "b"}, "on_bad_rows": "drop"}):
        with pytest.raises(UserError, match=message):
            read_rows(rows, label_separator="|", **more)


def test_names_are_given_to_each_label_and_may_join_two(read_rows):
    rows = [{"text": text, "label": [*labels, "invoice"]} for text, labels in EXPECTED]
    names = {"bug": "defect", "bill": "money", "invoice": "money"}
    rows, manifest = read_rows(rows, label_names=names)
    assert manifest["labels"] == ["defect", "money"]
    assert collect(rows)[0] == ("text 0", ["defect", "money"])
    assert collect(rows)[1] == ("text 1", ["money"])
    with pytest.raises(UserError, match=r"label not in data.label_names \(14\): all.jsonl line 1, "):
        read_rows([{"text": text, "label": labels} for text, labels in EXPECTED], label_names={"bug": "a", "x": "b"})


def test_a_row_of_which_train_lacks_a_label_cannot_be_used(read_rows):
    train = [{"text": text, "label": labels} for text, labels in EXPECTED]
    test = [{"text": "a", "label": ["bill"]}, {"text": "b", "label": ["bill", "new", "newer"]}]
    with pytest.raises(UserError, match=r"label unknown to train \(1\): test.jsonl line 2 \(new, newer\)"):
        read_rows({"train": train, "test": test})
    rows, manifest = read_rows({"train": train, "test": test}, on_bad_rows="drop")
    assert rows["test"] == [("a", ["bill"])]
    assert manifest["dropped"] == {"test": {"label unknown to train": 1}}
    assert manifest["labels"] == ["bill", "bug"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["bill"]], r"the data has one label \(bill\) in 40 rows; need two"),
        ([[]], r"the data has no label in 40 rows; need two"),
    ],
)
def test_fewer_than_two_labels_are_an_error(read_rows, labels, message):
    with pytest.raises(UserError, match=message):
        read_rows([{"text": text, "label": labels[0]} for text in TEXTS])


def test_a_column_that_is_1_in_no_row_of_train_is_an_error(read_rows):
    rows = [{"text": text, "bill": 1, "bug": 0, "more": number % 2} for number, text in enumerate(TEXTS)]
    with pytest.raises(UserError, match=r"data.label_column: no row of train has the label bug, so .* Leave it out"):
        read_rows(rows, label_column=["bill", "bug", "more"])


def test_a_label_that_test_lacks_is_counted_with_a_warning(read_rows, capsys):
    train = [{"text": text, "label": labels} for text, labels in EXPECTED]
    test = [{"text": f"{number}", "label": ["bill"] * (number % 2)} for number in range(10)]
    _, manifest = read_rows({"train": train, "test": test})
    assert manifest["missing_classes"]["test"]["bug"] == manifest["splits"]["train"]["classes"]["bug"]
    assert "warning: test has no rows of 1 of the classes of train: bug (" in capsys.readouterr().err


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4), max_size=20))
def test_sets_count_labels_as_their_rows_have_them(rows):
    sets = LabelSets(["c", "a"])
    found = np.array([sets.find(tuple(dict.fromkeys(labels))) for labels in rows], dtype=np.int32)
    multi_hot = sets.make_multi_hot(found)
    assert [{sets.names[i] for i in np.flatnonzero(row)} for row in multi_hot] == [set(labels) for labels in rows]
    assert sets.count(found).tolist() == multi_hot.sum(axis=0).tolist()
    assert len(set(sets.sets)) == len(sets.sets)


@given(st.lists(st.sampled_from("abcd"), max_size=20))
def test_the_set_of_one_label_has_the_index_of_the_label(rows):
    sets = LabelSets(["c", "a"])
    assert [sets.names[sets.find((label,))] for label in rows] == rows
