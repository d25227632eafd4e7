import re

import pytest

from stages.core.errors import UserError
from stages.report.curves import CHARTS, History, draw_curves, write_curves

TRAINING = "step,epoch,loss,learning_rate,grad_norm\n5,1,0.7,1,1\n10,1,0.5,1,1\n"
VALIDATION = "step,epoch,loss,accuracy,f1_macro,best\n5,1,0.6,0.8,0.7,1\n10,1,0.7,0.7,0.6,0\n"


def read_history(folder, training=TRAINING, validation=VALIDATION):
    (folder / "training.csv").write_text(training)
    (folder / "validation.csv").write_text(validation)
    return History.read(folder / "training.csv", folder / "validation.csv")


def test_the_page_and_the_picture_show_the_same_charts(tmp_path):
    history = read_history(tmp_path)
    figures = draw_curves(history)
    assert list(figures) == list(CHARTS)
    for name, chart in CHARTS.items():
        shown = {series.label for series in chart.series if series.column != "f1_micro"}
        assert shown <= set(re.findall(r">([^<>]+)</text>", figures[name]))
    write_curves(history, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_scores_that_only_several_labels_have_are_drawn_where_they_are(tmp_path):
    assert "F1, micro" not in draw_curves(read_history(tmp_path))["validation"]
    several = "step,epoch,loss,accuracy,f1_macro,f1_micro,best\n5,1,0.6,0.8,0.7,0.75,1\n"
    assert "F1, micro" in draw_curves(read_history(tmp_path, validation=several))["validation"]


def test_a_training_without_logged_steps_has_curves_of_its_validations(tmp_path):
    figures = draw_curves(read_history(tmp_path, training=TRAINING.splitlines()[0] + "\n"))
    assert ">validation</text>" in figures["loss"]
    assert ">training</text>" not in figures["loss"]


def test_the_best_validation_is_the_one_that_is_marked(tmp_path):
    assert read_history(tmp_path).best_validation["loss"] == 0.6


@pytest.mark.parametrize("validation", [VALIDATION.replace(",1\n", ",0\n"), "step,loss,accuracy,f1_macro\n5,1,1,1\n"])
def test_a_history_without_a_best_validation_is_one_message(tmp_path, validation):
    with pytest.raises(UserError, match=r"validation.csv: no row is marked as best; run `dvc repro train`"):
        read_history(tmp_path, validation=validation)
