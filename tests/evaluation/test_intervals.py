import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score

from stages.evaluation import intervals
from stages.evaluation.intervals import (
    bootstrap_mean,
    bootstrap_metrics,
    bootstrap_shares,
    compute_table_metrics,
    find_ends,
)


def make_predictions(rows=400, classes=3, seed=0):
    """Labels and predicted classes, of which two in three are correct."""
    generator = np.random.default_rng(seed)
    labels, other = generator.integers(classes, size=(2, rows))
    return labels, np.where(generator.random(rows) < 0.5, labels, other)


def count_confusion(labels, predicted, classes=3):
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def test_metrics_of_tables_equal_those_of_scikit_learn():
    labels, predicted = make_predictions()
    table = count_confusion(labels, predicted, classes=4)[None]  # the fourth class never occurs
    found = compute_table_metrics(table)
    assert found["accuracy"] == (labels == predicted).mean()
    assert found["precision_macro"] == pytest.approx(precision_score(labels, predicted, average="macro"))
    assert found["f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found["f1"][0, :3] == pytest.approx(f1_score(labels, predicted, average=None))
    assert np.isnan(found["f1"][0, 3])


def test_intervals_contain_the_measured_value_and_are_deterministic():
    table = count_confusion(*make_predictions())
    first, again = (bootstrap_metrics(table, seed=1) for _ in range(2))
    for name in ("accuracy", "precision_macro", "recall_macro", "f1_macro"):
        low, high = first[name]
        point = compute_table_metrics(table[None])[name][0]
        assert 0 < low < point < high < 1
        assert (first[name] == again[name]).all()
    assert (bootstrap_metrics(table, seed=2)["accuracy"] != first["accuracy"]).any()


def test_resampled_tables_give_the_interval_of_resampled_rows():
    labels, predicted = make_predictions()
    generator = np.random.default_rng(0)
    drawn = [
        f1_score(labels[rows], predicted[rows], average="macro") for rows in generator.integers(400, size=(500, 400))
    ]
    assert bootstrap_metrics(count_confusion(labels, predicted), 0)["f1_macro"] == pytest.approx(
        find_ends(np.array(drawn)), abs=0.01
    )


def test_four_times_as_many_rows_halve_the_interval():
    tables = [count_confusion(*make_predictions(rows)) for rows in (1000, 4000)]
    widths = [np.diff(bootstrap_metrics(table, 0)["accuracy"])[0] for table in tables]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)
    binomial = 2 * 1.96 * np.sqrt(2 / 9 / 1000)  # of a share of two thirds
    assert widths[0] == pytest.approx(binomial, rel=0.1)


def test_tables_resampled_in_parts_give_intervals_too(monkeypatch):
    monkeypatch.setattr(intervals, "CELLS_AT_ONCE", 100)
    labels, predicted = make_predictions(50)
    assert bootstrap_metrics(count_confusion(labels, predicted), 0)["f1"].shape == (2, 3)


def test_a_class_that_does_not_occur_has_no_interval():
    found = bootstrap_metrics(np.array([[9, 0], [0, 0]]), 0)
    assert found["recall"][:, 0].tolist() == found["accuracy"].tolist() == [1, 1]
    assert np.isnan(found["recall"][:, 1]).all()


def test_intervals_of_shares_and_means():
    low, high = bootstrap_shares(np.array([90, 9]), np.array([100, 10]), 0)
    assert low[1] < low[0] < 0.9 < high[0] < high[1] == 1
    values = np.random.default_rng(0).exponential(size=1000)
    low, high = bootstrap_mean(values, 0)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(1000), rel=0.1)
    assert low < values.mean() < high
