"""Two samples of texts side by side: values, intervals, and which differences are clear."""

import numpy as np
import pytest

from stages.core.problem_type import MULTI_LABEL, NO_LABEL, SINGLE_LABEL
from stages.evaluation.differences import TextSample, compare_metrics, compare_texts
from stages.evaluation.metrics import compute_metrics
from stages.evaluation.predictions import make_predictions


def make_texts(rows, mean=20, share=0.5, seed=0, problem_type=SINGLE_LABEL, thresholds=None):
    """Texts of about so many tokens, so many of which are predicted as `good`."""
    random = np.random.default_rng(seed)
    is_good = random.random(rows) < share
    logits = np.where(is_good[:, None], [-2.0, 2.0], [2.0, -2.0]) + random.normal(size=(rows, 2)) / 10
    predictions = make_predictions(problem_type, logits, names=("bad", "good"), thresholds=thresholds)
    lengths = random.poisson(mean, rows) + 1
    return TextSample(lengths, random.binomial(lengths, 0.1), lengths > 25, np.zeros(rows, dtype=bool), predictions)


def by_name(comparisons):
    return {one.name: one for one in comparisons}


def test_values_are_those_of_the_samples():
    new, reference = make_texts(100, mean=30), make_texts(300)
    found = by_name(compare_texts(new, reference, seed=0))
    assert found["Tokens of a text, mean"].new[0] == pytest.approx(new.lengths.mean())
    assert found["Unknown tokens"].reference[0] == reference.unknown.sum() / reference.lengths.sum()
    expected = np.quantile(new.lengths, 0.9, method="inverted_cdf")
    assert found["Tokens of a text, 90% quantile"].new[0] == expected
    assert found["Confidence, mean"].new[0] == pytest.approx(new.predictions.confidence.mean())
    for one in found.values():
        assert one.difference[0] == pytest.approx(one.new[0] - one.reference[0])
        for value, low, high in (one.new, one.reference, one.difference):
            assert low <= value <= high


def test_what_differs_is_clear_and_nothing_else():
    found = by_name(compare_texts(make_texts(400, mean=30, share=0.7), make_texts(400, seed=1), seed=0))
    clear = {name for name, one in found.items() if one.is_clear}
    assert clear >= {"Tokens of a text, mean", "Truncated texts", "Predicted: good", "Predicted: bad"}
    assert not clear & {"Repeated texts", "Unknown tokens"}


def test_the_interval_of_a_difference_has_the_right_width():
    one = by_name(compare_texts(make_texts(400), make_texts(100, seed=1), seed=0))["Predicted: good"]
    expected = 2 * 1.96 * np.sqrt(0.25 / 400 + 0.25 / 100)
    assert one.difference[2] - one.difference[1] == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("problem_type", "thresholds"), [(MULTI_LABEL, None), (SINGLE_LABEL, [0.99])])
def test_texts_without_a_label_are_counted_where_there_may_be_some(problem_type, thresholds):
    sample = make_texts(100, problem_type=problem_type, thresholds=thresholds)
    found = by_name(compare_texts(sample, sample, seed=0))
    shares = [found[f"Predicted: {name}"].new[0] for name in ("bad", "good", NO_LABEL)]
    assert sum(shares) == pytest.approx(1)
    assert (shares[2] > 0.1) == (thresholds is not None)


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL])
def test_metrics_of_both_samples_have_intervals(problem_type):
    random = np.random.default_rng(0)

    def make(rows, strength):
        labels = random.integers(0, 3, rows)
        chosen = np.eye(3, dtype=bool)[labels]
        logits = random.normal(size=(rows, 3)) + strength * chosen
        return make_predictions(problem_type, logits, labels if problem_type == SINGLE_LABEL else chosen, list("abc"))

    good, bad = make(400, 4), make(200, 1)
    worse, equal = (by_name(compare_metrics(new, good, seed=0)) for new in (bad, make(300, 4)))
    name = "Accuracy" if problem_type == SINGLE_LABEL else "F1, micro"
    key = "accuracy" if problem_type == SINGLE_LABEL else "f1_micro"
    assert next(iter(worse)) == name  # the page and the answer begin with it
    assert worse[name].new[0] == compute_metrics(bad)[key]
    assert worse[name].difference[2] < 0
    assert not equal[name].is_clear
