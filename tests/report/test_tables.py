import csv

import numpy as np

from stages.report.curves import draw_confusion
from stages.report.tables import write_reports

LOGITS = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 5.0], [2.0, 0.0], [0.0, 9.0]], dtype=np.float32)
LABELS = np.array([0, 0, 0, 1, 1])


def read(path):
    return list(csv.DictReader(path.open(encoding="utf-8", newline="")))


def write(folder, num_mistakes=50):
    texts = ["fine", "weak", 'a "sure"\nmistake, 好', "wrong", "right"]
    write_reports(LOGITS, LABELS, ["bad", "good"], texts, num_mistakes, folder, folder)
    return folder


def test_mistakes_are_listed_surest_first_with_their_text(tmp_path):
    mistakes = read(write(tmp_path) / "mistakes.csv")
    assert [row["row"] for row in mistakes] == ["2", "3", "1"]
    assert mistakes[0]["text"] == 'a "sure"\nmistake, 好'
    assert (mistakes[0]["actual"], mistakes[0]["predicted"], mistakes[0]["confidence"]) == ("bad", "good", "0.9933")


def test_all_predictions_are_listed_in_the_order_of_the_rows(tmp_path):
    rows = read(write(tmp_path) / "predictions.csv")
    assert len(rows) == len(LABELS)
    assert sum(row["actual"] != row["predicted"] for row in rows) == len(read(tmp_path / "mistakes.csv"))


def test_no_more_mistakes_than_asked_for(tmp_path):
    assert [row["row"] for row in read(write(tmp_path, 1) / "mistakes.csv")] == ["2"]


def test_each_class_has_its_numbers(tmp_path):
    bad, good = read(write(tmp_path) / "by_class.csv")
    assert bad == {"label": "bad", "precision": "0.5", "recall": "0.3333", "f1": "0.4", "rows": "3"}
    assert good == {"label": "good", "precision": "0.3333", "recall": "0.5", "f1": "0.4", "rows": "2"}


def test_many_classes_and_odd_names_can_be_drawn(tmp_path):
    for names in (["$x_$", "a, b"], [f"class {number}" for number in range(150)]):
        draw_confusion(np.arange(len(names)), np.arange(len(names)), names, tmp_path / "a.png")
        assert (tmp_path / "a.png").stat().st_size < 300_000


def test_the_confusion_table_has_a_row_a_text_and_the_picture_is_a_png(tmp_path):
    rows = read(write(tmp_path) / "confusion.csv")
    assert [(row["actual"], row["predicted"]) for row in rows][1] == ("bad", "good")
    assert len(rows) == 5
    assert (tmp_path / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
