import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score

from stages.evaluation import intervals
from stages.evaluation.intervals import ends, mean_interval, metric_intervals, share_intervals, table_metrics


def measured(rows=400, classes=3, seed=0):
    """Labels and predictions, of which two in three are right."""
    generator = np.random.default_rng(seed)
    labels, other = generator.integers(classes, size=(2, rows))
    return labels, np.where(generator.random(rows) < 0.5, labels, other)


def test_metrics_of_tables_are_those_of_scikit_learn():
    labels, predicted = measured()
    table = np.bincount(labels * 4 + predicted, minlength=16).reshape(1, 4, 4)  # the fourth class never occurs
    found = table_metrics(table)
    assert found["accuracy"] == (labels == predicted).mean()
    assert found["precision_macro"] == pytest.approx(precision_score(labels, predicted, average="macro"))
    assert found["f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found["f1"][0, :3] == pytest.approx(f1_score(labels, predicted, average=None))
    assert np.isnan(found["f1"][0, 3])


def test_intervals_hold_the_measured_value_and_are_the_same_again():
    labels, predicted = measured()
    first, again = (metric_intervals(labels, predicted, 3, seed=1) for _ in range(2))
    for name in ("accuracy", "precision_macro", "recall_macro", "f1_macro"):
        low, high = first[name]
        point = table_metrics(np.bincount(labels * 3 + predicted, minlength=9).reshape(1, 3, 3))[name][0]
        assert 0 < low < point < high < 1
        assert (first[name] == again[name]).all()
    assert (metric_intervals(labels, predicted, 3, seed=2)["accuracy"] != first["accuracy"]).any()


def test_drawing_tables_gives_the_interval_of_drawing_rows():
    labels, predicted = measured()
    generator = np.random.default_rng(0)
    drawn = [
        f1_score(labels[rows], predicted[rows], average="macro") for rows in generator.integers(400, size=(500, 400))
    ]
    assert metric_intervals(labels, predicted, 3, 0)["f1_macro"] == pytest.approx(ends(np.array(drawn)), abs=0.01)


def test_four_times_as_many_rows_halve_the_interval():
    widths = [np.diff(metric_intervals(*measured(rows), 3, 0)["accuracy"])[0] for rows in (1000, 4000)]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)
    binomial = 2 * 1.96 * np.sqrt(2 / 9 / 1000)  # of two in three that are right
    assert widths[0] == pytest.approx(binomial, rel=0.1)


def test_parts_that_fit_in_memory_give_intervals_too(monkeypatch):
    monkeypatch.setattr(intervals, "CELLS_AT_ONCE", 100)
    labels, predicted = measured(50)
    assert metric_intervals(labels, predicted, 3, 0)["f1"].shape == (2, 3)


def test_a_class_that_does_not_occur_has_no_interval():
    found = metric_intervals(np.zeros(9, int), np.zeros(9, int), 2, 0)
    assert found["recall"][:, 0].tolist() == found["accuracy"].tolist() == [1, 1]
    assert np.isnan(found["recall"][:, 1]).all()


def test_intervals_of_groups_and_means():
    low, high = share_intervals(np.array([90, 9]), np.array([100, 10]), 0)
    assert low[1] < low[0] < 0.9 < high[0] < high[1] == 1
    values = np.random.default_rng(0).exponential(size=1000)
    low, high = mean_interval(values, 0)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(1000), rel=0.1)
    assert low < values.mean() < high
