"""Rows that are drawn from a CSV file or from a split."""

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import UserError
from stages.inference.csv_file import Layout
from stages.inference.samples import draw, draw_from_csv, draw_from_split


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def read(path, columns=("label",), must_have_labels=False, **layout):
    return draw_from_csv(path, Layout(**layout), list(columns), must_have_labels, most=5, seed=0)


def test_each_row_is_drawn_equally_often_and_rows_keep_their_order():
    drawn = [draw(range(20), 5, seed)[0] for seed in range(2000)]
    assert all(rows == sorted(set(rows)) and len(rows) == 5 for rows in drawn)
    counts = np.bincount(np.concatenate(drawn), minlength=20)
    assert abs(counts - 500).max() < 4 * np.sqrt(2000 * 0.25 * 0.75)


def test_fewer_rows_are_all_drawn():
    assert draw(iter("abc"), 5, seed=0) == (["a", "b", "c"], 3)
    assert draw([], 5, seed=0) == ([], 0)


def test_a_sample_of_a_csv_has_texts_labels_and_places(tmp_path):
    path = write(tmp_path / "new.csv", [("text", "label"), *((f"text {n}", n % 2) for n in range(1, 100))])
    sample = read(path)
    assert (len(sample.rows), sample.total, sample.has_labels) == (5, 99, True)
    for row in sample.rows:
        number = int(row.text.split()[1])
        assert row.label == str(number % 2)
        assert f"row {number} " in row.location
    assert read(path) == sample


@pytest.mark.parametrize(
    ("header", "columns", "expected"),
    [
        (("text", "label"), ["label"], True),
        (("text", "stars"), ["label"], False),
        (("text", "toxic", "insult"), ["toxic", "insult"], True),
        (("text", "toxic"), ["toxic", "insult"], False),
        (("text", "label", "probability"), ["label"], False),  # what predict writes
    ],
)
def test_labels_are_read_where_all_columns_are_there_and_predict_has_not_written_them(
    header, columns, expected, tmp_path
):
    path = write(tmp_path / "new.csv", [header, ["x"] * len(header)])
    sample = read(path, columns)
    assert sample.has_labels == expected
    assert sample.rows[0].label == ((("x", "x") if len(columns) > 1 else "x") if expected else None)


def test_a_label_column_that_is_asked_for_must_be_there(tmp_path):
    path = write(tmp_path / "new.csv", [("text", "label", "probability"), ("a", "b", "0.9")])
    assert read(path, must_have_labels=True).rows[0].label == "b"
    with pytest.raises(UserError, match=r"--label-column .*: .*new.csv has no column 'stars'"):
        read(path, ["stars"], must_have_labels=True)


def test_of_columns_with_the_same_name_one_is_given_by_its_number_as_text(tmp_path):
    path = write(tmp_path / "new.csv", [("text", "text", "label", "label", "1"), ("a", "b", "c", "d", "e")])
    with pytest.raises(UserError, match=r"--text-column .*: .*new.csv has several columns 'text'; give the number"):
        read(path)
    row = read(path, ["3"], must_have_labels=True, text_column="0").rows[0]
    assert (row.text, row.label) == ("a", "d")
    assert read(path, ["3"], must_have_labels=True, text_column="1").rows[0].text == "e"  # a name goes first


def test_columns_of_a_file_without_header_have_numbers(tmp_path):
    path = write(tmp_path / "new.csv", [("a", "good"), ("b", "bad")])
    sample = read(path, ["1"], must_have_labels=True, header=False, text_column=0)
    assert [(row.text, row.label) for row in sample.rows] == [("a", "good"), ("b", "bad")]
    assert not read(path, [2], header=False, text_column=0).has_labels


def test_a_sample_of_a_split_has_pairs_and_lists_of_labels(tmp_path):
    table = {"text": ["a", "b"], "text_pair": ["c", "d"], "label": [["x"], []]}
    pq.write_table(pa.table(table), tmp_path / "test.parquet")
    sample = draw_from_split(tmp_path / "test.parquet", 5, seed=0)
    assert [row.text for row in sample.rows] == [("a", "c"), ("b", "d")]
    assert [row.label for row in sample.rows] == [["x"], []]


def test_a_split_that_is_missing_or_broken_is_one_message(tmp_path):
    (tmp_path / "test.parquet").write_text("no Parquet")
    for name in ("test.parquet", "train.parquet"):
        with pytest.raises(UserError, match=rf"{name}: cannot be read .* run `dvc repro download`"):
            draw_from_split(tmp_path / name, 5, seed=0)
