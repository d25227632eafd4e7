import csv

import numpy as np
import pytest

from stages.evaluation.predictions import LabelledMultiLabelPredictions, LabelledPredictions
from stages.evaluation.slices import measure_slices
from stages.report.tables import (
    write_class_metrics,
    write_confusion,
    write_mistakes,
    write_predictions,
    write_seconds,
    write_slices,
)

LOGITS = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 5.0], [2.0, 0.0], [0.0, 9.0]], dtype=np.float32)
PREDICTIONS = LabelledPredictions(LOGITS, np.array([0, 0, 0, 1, 1]), names=["bad", "good"])
MULTI = LabelledMultiLabelPredictions(
    np.array([[2.0, -2.0], [-3.0, -1.0], [1.0, 4.0]]), np.array([[True, True], [False] * 2, [False, True]]),
    names=["late", "rude"],
)  # fmt: skip
TEXTS = ["fine", "weak", 'a "sure"\nmistake, 好', "wrong", "right"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.csv"


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_mistakes_are_listed_most_confident_first_with_their_text(path):
    write_mistakes(PREDICTIONS, TEXTS, 50, path)
    mistakes = read(path)
    assert [row["row"] for row in mistakes] == ["2", "3", "1"]
    assert mistakes[0] == {
        "row": "2", "actual": "bad", "predicted": "good", "confidence": "0.9933", "text": 'a "sure"\nmistake, 好'
    }  # fmt: skip


def test_a_carriage_return_in_a_text_or_label_makes_no_row(path):
    predictions = LabelledPredictions(LOGITS, PREDICTIONS.labels, names=["b\rad", "good"])
    write_mistakes(predictions, ["a\rb\r\n"] * 5, 50, path)
    assert [(row["actual"], row["text"]) for row in read(path)] == [
        ("b\rad", "a\rb\r\n"), ("good", "a\rb\r\n"), ("b\rad", "a\rb\r\n")
    ]  # fmt: skip
    for write in (write_predictions, write_confusion):
        write(predictions, path)
        assert [row["actual"] for row in read(path)] == ["b\rad"] * 3 + ["good"] * 2


def test_no_more_mistakes_are_listed_than_asked_for(path):
    write_mistakes(PREDICTIONS, TEXTS, 1, path)
    assert [row["row"] for row in read(path)] == ["2"]


def test_all_predictions_are_listed_in_the_order_of_the_rows(path):
    write_predictions(PREDICTIONS, path)
    rows = read(path)
    assert [row["actual"] for row in rows] == ["bad", "bad", "bad", "good", "good"]
    assert [row["predicted"] for row in rows] == ["bad", "good", "good", "bad", "good"]
    assert rows[2]["confidence"] == "0.9933"


def test_each_class_has_its_metrics(path):
    write_class_metrics(PREDICTIONS, path)
    assert [list(row.values()) for row in read(path)] == [
        ["bad", "0.5", "0.3333", "0.4", "0.8056", "3"], ["good", "0.3333", "0.5", "0.4", "0.75", "2"]
    ]  # fmt: skip
    assert path.read_text().splitlines()[0] == "label,precision,recall,f1,average_precision,rows"


def test_the_average_precision_of_a_class_without_rows_is_empty(path):
    write_class_metrics(LabelledPredictions(LOGITS, np.zeros(5, dtype=int), names=["bad", "good"]), path)
    assert [(row["average_precision"], row["rows"]) for row in read(path)] == [("1.0", "5"), ("", "0")]


def test_tables_of_several_labels_a_text_have_them_in_one_cell(path):
    write_predictions(MULTI, path)
    assert [(row["actual"], row["predicted"], row["confidence"]) for row in read(path)] == [
        ("late|rude", "late", "0.8808"), ("", "", "0.7311"), ("rude", "late|rude", "0.7311")
    ]  # fmt: skip
    write_mistakes(MULTI, TEXTS, 1, path)
    assert [(row["row"], row["actual"], row["predicted"]) for row in read(path)] == [("0", "late|rude", "late")]


def test_the_confusion_table_of_several_labels_a_text_has_a_row_for_each_decision(path):
    write_confusion(MULTI, path)
    assert [(row["actual"], row["predicted"]) for row in read(path)] == [
        ("late", "late"), ("rude", "rude"), ("rude", "(none)"), ("(none)", "late")
    ]  # fmt: skip


def test_each_slice_has_its_results_and_without_slices_there_is_a_header(path):
    write_slices(measure_slices(PREDICTIONS, {"language": ["en"] * 4 + [""]}, 0), False, path)
    assert [(row["column"], row["value"], row["rows"], row["accuracy"]) for row in read(path)] == [
        ("language", "en", "4", "0.25"), ("language", "", "1", "1.0")
    ]  # fmt: skip
    write_slices(measure_slices(MULTI, {"language": ["en"] * 3}, 0), True, path)
    assert read(path)[0]["f1_micro"] == "0.6667"
    write_slices([], False, path)
    assert path.read_text() == "column,value,rows,accuracy,accuracy_low,accuracy_high\n"


def test_the_confusion_table_has_a_row_for_each_text(path):
    write_confusion(PREDICTIONS, path)
    assert [(row["actual"], row["predicted"]) for row in read(path)] == [
        ("bad", "bad"), ("bad", "good"), ("bad", "good"), ("good", "bad"), ("good", "good")
    ]  # fmt: skip


def test_the_seconds_of_the_stages_that_ran_are_in_the_order_of_the_stages(path):
    write_seconds({"train_seconds": 3.5, "train_loop_seconds": 2, "download_seconds": 1}, path)
    assert path.read_text() == "stage,seconds\ndownload,1\ntrain,3.5\n"
