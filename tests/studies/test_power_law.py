import numpy as np
import pytest

from stages.studies.power_law import describe_gain, fit_power_law

ROWS = np.repeat([100, 200, 400, 800, 1600], 3)


def true_scores(rows, a=2.0, b=0.5, c=0.1):
    return 1 - (c + a * np.asarray(rows, dtype=float) ** -b)


def measure(rows, std, seed):
    """Scores of trainings, with noise of this standard deviation."""
    return true_scores(rows) + std * np.random.default_rng(seed).normal(size=len(rows))


def test_a_curve_without_noise_is_found_and_goes_on():
    law = fit_power_law(ROWS, true_scores(ROWS), lower_is_better=False, seed=0)
    assert (law.a, law.b, law.c) == pytest.approx((2, 0.5, 0.1), rel=0.01)
    assert law.predict(np.array([3200, 6400])) == pytest.approx(true_scores([3200, 6400]), abs=1e-4)


def test_a_loss_falls_as_its_error_does():
    law = fit_power_law(ROWS, 1 - true_scores(ROWS), lower_is_better=True, seed=0)
    assert law.predict(np.array([3200])) == pytest.approx(1 - true_scores([3200]), abs=1e-4)


@pytest.mark.parametrize("std", [0.005, 0.02])
def test_the_interval_contains_a_new_training_in_about_95_of_100_cases(std):
    laws = [fit_power_law(ROWS, measure(ROWS, std, seed), False, seed) for seed in range(100)]
    low, high = np.array([law.interval(np.array([3200]))[:, 0] for law in laws]).T
    scores = np.array([measure([3200], std, 1000 + seed)[0] for seed in range(100)])
    assert 0.9 <= np.mean((low <= scores) & (scores <= high)) <= 0.99
    assert np.mean(high - low) < 2 * (2 * 1.96 * std)  # not twice as wide as one that knew the curve


def test_the_interval_is_wider_further_away_and_contains_the_prediction():
    law = fit_power_law(ROWS, measure(ROWS, 0.01, 0), False, 0)
    rows = np.array([1600, 3200, 12800])
    low, high = law.interval(rows)
    assert ((low < law.predict(rows)) & (law.predict(rows) < high)).all()
    assert (np.diff(high - low) > 0).all()


def test_the_interval_depends_on_the_seed_alone():
    scores, rows = measure(ROWS, 0.01, 0), np.array([3200])
    first, again, other = (fit_power_law(ROWS, scores, False, seed).interval(rows) for seed in (1, 1, 2))
    assert (first == again).all()
    assert first == pytest.approx(other, abs=0.005)
    assert (first != other).any()


@pytest.mark.parametrize(
    "scores",
    [np.full(15, 0.7), np.ones(15), np.zeros(15), np.linspace(0.9, 0.5, 15), np.linspace(-0.2, 0.9, 15)],
    ids=["constant", "perfect", "zero", "decreasing", "below zero"],
)
def test_curves_that_are_no_power_law_give_numbers_and_a_sentence(scores):
    law = fit_power_law(ROWS, scores, False, 0)
    assert min(law.a, law.c) >= 0
    assert 0.01 <= law.b <= 2
    low, high = law.interval(np.array([100, 3200]))
    assert np.isfinite([low, high]).all()
    assert (high <= 1).all()
    assert "accuracy" in describe_gain(law, 3200, "accuracy")


def test_one_training_a_size_is_enough():
    rows = ROWS[::3]
    low, high = fit_power_law(rows, measure(rows, 0.01, 0), False, 0).interval(np.array([3200]))
    assert low < true_scores([3200]) < high


def test_two_sizes_are_too_few():
    with pytest.raises(ValueError, match="at least three sizes, and there are 2"):
        fit_power_law(ROWS[:6], measure(ROWS[:6], 0.01, 0), False, 0)


def test_three_trainings_are_too_few_because_any_three_scores_fit_a_curve():
    with pytest.raises(ValueError, match="at least four trainings, and there are 3"):
        fit_power_law(ROWS[:9:3], measure(ROWS[:9:3], 0.01, 0), False, 0)
    low, high = fit_power_law(ROWS[:7:2], measure(ROWS[:7:2], 0.01, 0), False, 0).interval(np.array([800]))
    assert high - low > 0.05  # of four trainings


def test_a_gain_is_described_and_no_gain_is_not_hidden():
    clear = describe_gain(fit_power_law(ROWS, measure(ROWS, 0.001, 0), False, 0), 3200, "accuracy")
    assert clear.startswith("With 3,200 rows, twice as many, accuracy on validation would be about 0.86")
    assert "instead of 0.8" in clear
    assert "interval of a training: 0.86" in clear
    assert "not certain" not in clear
    unclear = describe_gain(fit_power_law(ROWS, measure(ROWS, 0.02, 0), False, 0), 2400, "accuracy")
    assert "1.5 times as many" in unclear
    assert "it is not certain that more rows improve a training." in unclear
