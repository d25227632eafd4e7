from dataclasses import replace

import numpy as np
import pytest

from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.evaluation import intervals, row_resamples
from stages.evaluation.intervals import (
    bootstrap_metrics,
    bootstrap_ratio,
    bootstrap_shares,
    find_ends,
    leave_out_biased,
)
from stages.evaluation.metrics import compute_metrics
from stages.evaluation.predictions import make_predictions


def make_single(rows=300, classes=3, seed=0, is_ordinal=False):
    """Predictions of which two in three are correct or so."""
    random = np.random.default_rng(seed)
    labels, logits = random.integers(0, classes, rows), random.normal(size=(rows, classes))
    logits[np.arange(rows), labels] += 1.5
    return make_predictions(SINGLE_LABEL, logits, labels, is_ordinal=is_ordinal)


def make_multi(rows=300, classes=3, seed=0):
    random = np.random.default_rng(seed)
    labels = random.random((rows, classes)) < 0.3
    return make_predictions(MULTI_LABEL, random.normal(size=(rows, classes)) + 2 * labels - 1, labels)


@pytest.mark.parametrize(
    "made", [make_single(), make_single(classes=6, is_ordinal=True), make_single(classes=2), make_multi()]
)
def test_every_metric_of_a_validation_has_an_interval_that_contains_it(made):
    found, measured = bootstrap_metrics(made, seed=1), compute_metrics(made)
    assert set(found.overall) == set(measured)
    for name, (low, high) in found.overall.items():
        assert low < measured[name] < high, name
    again, other = bootstrap_metrics(made, seed=1), bootstrap_metrics(made, seed=2)
    assert found.overall == again.overall
    assert found.overall["loss"] != other.overall["loss"]
    assert {name: ends.shape for name, ends in found.by_class.items()} == dict.fromkeys(
        ("precision", "recall", "f1", "average_precision"), (2, made.logits.shape[1])
    )


def test_an_interval_beside_its_value_is_left_out():
    assert leave_out_biased(0.5, [0.4, 0.6]) == [0.4, 0.6]
    assert leave_out_biased(1.0, np.array([0.9, 1 - 1e-12])) == [0.9, 1 - 1e-12]
    for ends in ([0.3, 0.49], [0.51, 0.6], [np.nan, np.nan]):
        assert np.isnan(leave_out_biased(0.5, ends)).all()


def test_without_any_actual_label_the_other_metrics_have_intervals():
    made = make_predictions(MULTI_LABEL, np.random.default_rng(0).normal(size=(50, 3)), np.zeros((50, 3)))
    found = bootstrap_metrics(made, seed=1)
    assert {"accuracy", "hamming_loss", "loss"} <= set(found.overall)
    assert "average_precision" not in found.overall
    assert np.isnan(found.by_class["average_precision"]).all()


@pytest.mark.parametrize("made", [make_single(classes=6, is_ordinal=True), make_multi()])
def test_intervals_are_those_of_rows_that_are_drawn_one_resample_at_a_time(made):
    generator = np.random.default_rng(0)
    drawn = [
        compute_metrics(replace(made, logits=made.logits[rows], labels=made.labels[rows]))
        for rows in generator.integers(300, size=(400, 300))
    ]
    for name, ends in bootstrap_metrics(made, seed=0).overall.items():
        expected = find_ends(np.array([values[name] for values in drawn]))
        assert ends == pytest.approx(expected, abs=0.15 * np.diff(expected)[0]), name


def test_four_times_as_many_rows_halve_the_interval():
    widths = [np.diff(bootstrap_metrics(make_single(rows), 0).overall["accuracy"])[0] for rows in (1000, 4000)]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)


def test_resamples_in_parts_give_intervals_too(monkeypatch):
    monkeypatch.setattr(intervals, "CELLS_AT_ONCE", 100)
    monkeypatch.setattr(row_resamples, "CELLS_AT_ONCE", 1000)
    found = bootstrap_metrics(make_single(50), 0)
    assert found.by_class["f1"].shape == (2, 3)
    assert found.row_resamples == 2000


def test_many_rows_have_fewer_resamples():
    counts = [row_resamples.count_resamples(rows, classes) for rows, classes in ((1000, 2), (25_000, 2), (10**7, 9))]
    assert counts == [2000, 1000, 200]


def test_a_class_that_does_not_occur_has_no_interval():
    made = make_predictions(SINGLE_LABEL, np.tile([1.0, 0.0], (9, 1)), np.zeros(9, dtype=int))
    found = bootstrap_metrics(made, 0)
    assert found.by_class["recall"][:, 0].tolist() == found.overall["accuracy"] == [1, 1]
    assert np.isnan(found.by_class["recall"][:, 1]).all()
    assert "roc_auc" not in found.overall


def test_texts_without_any_label_have_intervals_of_what_is_defined():
    made = make_predictions(MULTI_LABEL, make_multi().logits, np.zeros((300, 3)))
    found = bootstrap_metrics(made, 0).overall
    assert not {"roc_auc", "average_precision", "average_precision_micro"} & set(found)
    assert found["f1_micro"] == [0, 0]


def test_intervals_of_shares_and_ratios():
    low, high = bootstrap_shares(np.array([90, 9]), np.array([100, 10]), 0)
    assert low[1] < low[0] < 0.9 < high[0] < high[1] == 1
    parts, totals = np.random.default_rng(0).integers(1, 3, size=(2, 1000))
    low, high = bootstrap_ratio(parts, totals + parts, 0)
    rows = np.random.default_rng(1).integers(1000, size=(1000, 1000))
    expected = find_ends(parts[rows].sum(1) / (totals + parts)[rows].sum(1))
    assert [low, high] == pytest.approx(expected, abs=0.002)


def test_the_ends_of_resamples_leave_out_those_that_are_not_defined():
    drawn = np.stack([np.arange(1001.0), np.full(1001, np.nan), np.r_[np.nan, np.zeros(1000)]], axis=1)
    ends = find_ends(drawn)
    assert ends[:, 0].tolist() == [25, 975]
    assert np.isnan(ends[:, 1]).all()
    assert ends[:, 2].tolist() == [0, 0]
    assert find_ends(drawn[:, 0]).tolist() == [25, 975]
