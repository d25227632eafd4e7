import numpy as np
import pytest

from stages.studies.seed_spread import describe_difference, smallest_clear_difference, summarize_seeds


def draw_scores(count, repeats=4000):
    """Scores `(repeats, count)` of trainings with a mean of 0.85 and a standard deviation of 0.01 over seeds."""
    return np.random.default_rng(0).normal(0.85, 0.01, size=(repeats, count))


def test_the_spread_of_each_metric_is_given_in_the_order_of_the_metrics():
    loss, accuracy = summarize_seeds({"loss": [0.5, 0.3], "accuracy": [0.8, 0.9, 0.85]})
    assert (loss.metric, accuracy.metric) == ("loss", "accuracy")
    assert accuracy[1:3] == pytest.approx((0.85, 0.05))
    assert (accuracy.min, accuracy.max) == (0.8, 0.9)
    assert accuracy[3:5] == pytest.approx((0.85 - 4.302653 * 0.05 / 3**0.5, 0.85 + 4.302653 * 0.05 / 3**0.5))


def test_equal_scores_have_no_spread():
    (spread,) = summarize_seeds({"accuracy": [0.75, 0.75, 0.75]})
    assert spread.low == spread.mean == spread.high == 0.75
    assert spread.std == smallest_clear_difference(spread.std, 3) == 0


@pytest.mark.parametrize("count", [2, 3, 10])
def test_the_interval_of_the_mean_contains_it_in_95_of_100_cases(count):
    spreads = [summarize_seeds({"accuracy": scores})[0] for scores in draw_scores(count, repeats=2000).tolist()]
    assert np.mean([spread.low < 0.85 < spread.high for spread in spreads]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("count", [2, 5, 20])
def test_the_seed_alone_makes_a_clear_difference_in_5_of_100_cases(count):
    scores = draw_scores(count + 2)
    differences = scores[:, -1] - scores[:, -2]
    limits = [smallest_clear_difference(std, count) for std in scores[:, :count].std(axis=1, ddof=1)]
    assert (abs(differences) > limits).mean() == pytest.approx(0.05, abs=0.012)


def test_more_trainings_make_smaller_differences_clear():
    limits = [smallest_clear_difference(0.01, count) for count in (2, 3, 5, 100)]
    assert limits == sorted(limits, reverse=True)
    assert limits[-1] == pytest.approx(2 * 2**0.5 * 0.01, rel=0.02)


def test_a_difference_is_described_with_its_sign_and_the_limit():
    less = "is less than what the seed alone can change (0.0121)"
    assert describe_difference(0.004, 0.0121) == f"+0.0040 {less}"
    assert describe_difference(-0.004, 0.0121) == f"-0.0040 {less}"
    assert describe_difference(-0.04, 0.0121) == "-0.0400 is more than what the seed alone can change (0.0121)"


def test_one_training_has_no_spread():
    with pytest.raises(ValueError, match="at least two trainings, and there are 1"):
        summarize_seeds({"accuracy": [0.8]})
    with pytest.raises(ValueError, match="at least two trainings, and there are 0"):
        smallest_clear_difference(0.1, 0)
