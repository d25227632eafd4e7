from collections import Counter

import numpy as np
import pytest

from stages.data.sampling import sample_groups, stratified_sample

LABELS = np.array(["a"] * 700 + ["b"] * 290 + ["c"] * 10)


def test_classes_keep_their_shares():
    counts = Counter(LABELS[index] for index in stratified_sample(LABELS, 100, seed=1))
    assert counts == {"a": 70, "b": 29, "c": 1}


@pytest.mark.parametrize("size", [3, 4, 50, 999, 1000])
def test_any_size_is_met_and_no_class_is_lost(size):
    rows = stratified_sample(LABELS, size, seed=1)
    assert len(set(rows)) == size
    assert {LABELS[index] for index in rows} == {"a", "b", "c"}


def test_the_seed_decides_the_rows():
    assert np.array_equal(stratified_sample(LABELS, 50, seed=1), stratified_sample(LABELS, 50, seed=1))
    assert not np.array_equal(stratified_sample(LABELS, 50, seed=1), stratified_sample(LABELS, 50, seed=2))


def test_a_sample_of_groups_has_complete_groups_but_for_the_last():
    groups = np.repeat(["a", "b", "c", "d"], 10)[np.random.default_rng(0).permutation(40)]
    chosen = sample_groups(groups, 25, seed=1)
    counts = sorted(np.unique(groups[chosen], return_counts=True)[1])
    assert counts == [5, 10, 10]
    assert (chosen == sample_groups(groups, 25, seed=1)).all()
    assert any((chosen != sample_groups(groups, 25, seed)).any() for seed in range(2, 6))
