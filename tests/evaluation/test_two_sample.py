"""The two-sample test on vectors whose distributions are known."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from stages.evaluation.two_sample import FOLDS, compare_samples, compute_aucs, make_folds, permute_within


def draw(new, reference, shift=0.0, width=8, seed=0):
    """Normal vectors, those of the new sample with another mean, which of them are new, and groups of one row."""
    random, numbers = np.random.default_rng(seed), np.arange(new + reference)
    is_new = numbers < new
    return random.normal(size=(len(numbers), width)) + shift * is_new[:, None], is_new, numbers


def test_equal_samples_are_called_different_as_often_as_alpha_says():
    found = np.array([compare_samples(*draw(50, 100, width=4, seed=seed), 39, seed).p_value for seed in range(100)])
    for alpha in (0.05, 0.2):
        assert abs(np.mean(found <= alpha) - alpha) < 3 * np.sqrt(alpha * (1 - alpha) / 100)


def test_a_small_difference_of_means_is_found_with_enough_rows():
    found = [compare_samples(*draw(200, 400, shift=0.15, seed=seed), 99, seed).p_value for seed in range(20)]
    assert np.mean(np.array(found) <= 0.05) > 0.8


def test_the_auc_its_interval_and_the_scores_fit_together():
    features, is_new, groups = draw(300, 500, shift=0.3)
    test = compare_samples(features, is_new, groups, 99, seed=1)
    assert 0.5 < test.low < test.auc < test.high < 1
    assert test.p_value == 0.01  # the least that 99 permutations can give
    assert roc_auc_score(is_new, test.scores) == pytest.approx(test.auc, abs=0.02)  # of all folds together


def test_equal_inputs_give_equal_results_and_another_seed_others():
    first, again, other = (compare_samples(*draw(50, 60), 99, seed) for seed in (1, 1, 2))
    assert first[:4] == again[:4] != other[:4]
    assert (first.scores == again.scores).all()


def test_features_that_are_constant_say_nothing():
    features, *others = draw(50, 60)
    assert compare_samples(np.zeros_like(features), *others, 99, seed=0)[:4] == (0.5, 0.5, 0.5, 1.0)


def test_the_order_of_the_axes_and_their_units_do_not_matter():
    features, *others = draw(60, 60, shift=0.2)
    first = compare_samples(features, *others, 99, seed=0)
    other = compare_samples(features[:, ::-1] * 1000 + 5, *others, 99, seed=0)
    assert other[:4] == pytest.approx(first[:4])


def test_texts_that_are_copied_in_one_sample_are_no_difference():
    found = []
    for seed in range(10):
        features, is_new, rows = draw(200, 200, width=200, seed=seed)
        copied = np.where(is_new, np.random.default_rng(seed).integers(200, size=400), rows)  # as by a faulty export
        found.append([compare_samples(features[copied], is_new, groups, 99, seed).p_value for groups in (copied, rows)])
    by_text, by_row = np.array(found).T
    assert np.mean(by_text <= 0.05) <= 0.3
    assert np.mean(by_row <= 0.05) > 0.8  # what would be without groups


def test_permutations_keep_the_number_of_new_rows_of_each_fold():
    random, is_new = np.random.default_rng(0), np.arange(200) < 50
    folds = make_folds(np.arange(200) // 2, random)
    assert (folds[::2] == folds[1::2]).all()
    assert (np.bincount(folds) == 40).all()
    labels = permute_within(is_new, folds, 20, random)
    assert (labels[:, 0] == is_new).all()
    assert len(np.unique(labels, axis=1).T) == 21
    for fold in range(FOLDS):
        assert len(set(labels[folds == fold].sum(axis=0))) == 1


def test_a_fold_without_new_rows_is_left_out():
    features, is_new, groups = draw(60, 240, shift=1)
    test = compare_samples(
        features, is_new, np.where(is_new, groups // 30, groups), 99, seed=0
    )  # new ones in two folds
    assert test.p_value == 0.01
    assert test.low <= test.auc <= test.high


def test_the_aucs_of_columns_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    scores = random.integers(0, 9, (40, 5)).astype(float)  # with ties
    labels = random.permuted(np.repeat([[0.0], [1.0]], 20, axis=0).repeat(5, axis=1), axis=0)
    expected = [roc_auc_score(labels[:, column], scores[:, column]) for column in range(5)]
    assert compute_aucs(scores, labels) == pytest.approx(expected)
