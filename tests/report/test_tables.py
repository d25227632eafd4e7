import csv

import numpy as np
import pytest

from stages.evaluation.predictions import LabelledPredictions
from stages.report.tables import (
    write_class_metrics,
    write_confusion,
    write_mistakes,
    write_predictions,
    write_seconds,
)

LOGITS = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 5.0], [2.0, 0.0], [0.0, 9.0]], dtype=np.float32)
PREDICTIONS = LabelledPredictions(LOGITS, np.array([0, 0, 0, 1, 1]), names=["bad", "good"])
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
    assert read(path) == [
        {"label": "bad", "precision": "0.5", "recall": "0.3333", "f1": "0.4", "rows": "3"},
        {"label": "good", "precision": "0.3333", "recall": "0.5", "f1": "0.4", "rows": "2"},
    ]


def test_the_confusion_table_has_a_row_for_each_text(path):
    write_confusion(PREDICTIONS, path)
    assert [(row["actual"], row["predicted"]) for row in read(path)] == [
        ("bad", "bad"), ("bad", "good"), ("bad", "good"), ("good", "bad"), ("good", "good")
    ]  # fmt: skip


def test_the_seconds_of_the_stages_that_ran_are_in_the_order_of_the_stages(path):
    write_seconds({"train_seconds": 3.5, "train_loop_seconds": 2, "download_seconds": 1}, path)
    assert path.read_text() == "stage,seconds\ndownload,1\ntrain,3.5\n"
