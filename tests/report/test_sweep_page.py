"""The page of a search: its best trial, and trials that did not end well."""

import pytest

from stages.core.csv_tables import read_csv
from stages.core.sweep_space import Dimension
from stages.report.study_page import write_study
from stages.report.sweep_page import SearchedTrial, make_sweep_page
from stages.training.trainer import DivergedError
from stages.training.trials import describe_diverged

SPACE = {
    "train.learning_rate": Dimension(1e-5, 1e-2, log=True),
    "train.lr_scheduler_type": Dimension(choices=("linear", "cosine")),
    "train.group_by_length": Dimension(choices=(True, False)),
}


def make_trial(number, value, stopped=False, **params):
    """A trial whose loss is 1 less its accuracy."""
    scores = {"step": 10, "epoch": 1.0, "accuracy": value, "f1_macro": value - 0.1, "loss": 1 - value}
    values = {"learning_rate": 10.0 ** -(number % 4 + 2), "lr_scheduler_type": "linear", "group_by_length": True}
    result = {"stopped": stopped, "best": scores, "train": [], "validation": [scores], "seconds": 1.5}
    return SearchedTrial(
        number, {f"train.{key}": one for key, one in (values | params).items()}, None if stopped else value, result
    )


def by_loss(trial):
    return trial._replace(value=trial.value and trial.result["best"]["loss"])


def make_page(trials, metric="accuracy", importance=None, winner=None, space=SPACE):
    return make_sweep_page("sweep-1", trials, space, importance or {}, metric, {"Data": "a.csv"}, winner)


def test_the_best_trial_is_named_with_its_params_and_is_the_first_row():
    page = make_page([make_trial(0, 0.7), make_trial(1, 0.9, lr_scheduler_type="cosine"), make_trial(2, 0.8)])
    assert page.answer == [
        "Trial 1 is the best of 3: accuracy 0.9000 on validation.",
        "It has train.learning_rate 0.001, train.lr_scheduler_type cosine, train.group_by_length True.",
    ]
    assert [row[0] for row in page.rows] == [1, 2, 0]
    assert page.commands == []


def test_the_best_trial_has_the_smallest_loss_where_that_is_the_metric():
    page = make_page([by_loss(make_trial(number, score)) for number, score in enumerate([0.7, 0.9, 0.8])], "loss")
    assert page.answer[0] == "Trial 1 is the best of 3: loss 0.1000 on validation."
    assert page.columns[:4] == ("trial", "loss", "accuracy", "f1_macro")
    assert [row[0] for row in page.rows] == [1, 2, 0]


def test_a_score_of_zero_is_a_score():
    page = make_page([by_loss(make_trial(0, 1.0)), by_loss(make_trial(1, 0.5))], "loss")
    assert page.answer[0] == "Trial 0 is the best of 2: loss 0.0000 on validation."
    assert page.rows[0][-1] == "complete"


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_trials_that_were_stopped_or_diverged_are_the_last_rows_without_a_score(tmp_path, metric):
    diverged = make_trial(0, 0)._replace(value=None, result=describe_diverged(DivergedError("not a number"), 0.0))
    complete = make_trial(2, 0.8)
    trials = [diverged, make_trial(1, 0.5, stopped=True), by_loss(complete) if metric == "loss" else complete]
    page = make_page(trials, metric)
    assert page.facts["Stopped early"] == "2 trials"
    _, table = write_study(tmp_path, "sweep", page)
    assert read_csv(table, ["trial", "accuracy", "state"]) == [
        ["2", "0.8", "complete"], ["0", "", "not a number"], ["1", "", "stopped"]
    ]  # fmt: skip


def test_figures_name_the_params(tmp_path):
    trials = [make_trial(number, 0.5 + number / 100, stopped=number % 3 == 2) for number in range(20)]
    page = make_page(trials, importance={"train.learning_rate": 0.9, "train.lr_scheduler_type": 0.1})
    assert list(page.figures) == ["Score by trial", "Params and score", "Importance"]
    for caption, names in (
        ("Params and score", ["learning_rate", "lr_scheduler_type", "group_by_length", "True", "linear"]),
        ("Importance", ["learning_rate", "lr_scheduler_type"]),
        ("Score by trial", ["stopped early"]),
    ):
        assert all(f">{name}<" in page.figures[caption] for name in names)
    html, _ = write_study(tmp_path, "sweep", page)
    assert html.read_text().count("<svg") == 3


def test_one_trial_with_one_param_has_a_page_without_importance():
    page = make_page([make_trial(0, 0.5)], space={"train.learning_rate": Dimension(1e-5, 1e-2)})
    assert list(page.figures) == ["Score by trial", "Params and score"]
    assert page.columns == ("trial", "accuracy", "f1_macro", "loss", "learning_rate", "seconds", "state")


def test_params_without_a_value_are_shown_as_none():
    page = make_page([make_trial(0, 0.5, lr_scheduler_type=None), make_trial(1, 0.4, lr_scheduler_type="linear")])
    assert "train.lr_scheduler_type None" in page.answer[1]
    assert ">None<" in page.figures["Params and score"]


def test_the_experiment_of_the_best_trial_is_reported_on_test_rows():
    winner = {"experiment": "sweep-1-0", "test": {"rows": 1234, "accuracy": 0.45678}}
    page = make_page([make_trial(0, 0.5)], winner=winner)
    assert "On the 1,234 test rows" in page.answer[2]
    assert "accuracy 0.4568" in page.answer[2]
    assert "sweep-1-0" in page.commands[0]


def test_equal_searches_have_equal_pages():
    trials = [make_trial(number, 0.5 + number / 10) for number in range(4)]
    assert make_page(trials) == make_page(trials)
