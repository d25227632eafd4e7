from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@st.composite
def multi_hot_labels(draw):
    """Up to 60 rows of two to six labels, of which some are rare, and some no row has."""
    shape = draw(st.integers(1, 60)), draw(st.integers(2, 6))
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    return random.rand(*shape) < random.rand(shape[1]) ** draw(st.integers(1, 4))


@given(multi_hot_labels(), st.integers(0, 70), st.integers(0, 2**32 - 1))
def test_a_sample_of_several_labels_has_the_size_and_all_labels(labels, size, seed):
    rows = stratified_sample(labels, size, seed)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(rows) == min(size, len(labels))
    if size >= labels.shape[1]:
        assert (labels[rows].any(axis=0) == labels.any(axis=0)).all()
    assert rows.tolist() == stratified_sample(labels, size, seed).tolist()


@pytest.mark.parametrize("size", [100, 500, 900])
def test_each_of_several_labels_keeps_its_share(size):
    labels = np.random.RandomState(0).rand(1000, 5) < [0.5, 0.3, 0.1, 0.05, 0.01]
    shares = labels[stratified_sample(labels, size, seed=1)].mean(axis=0)
    assert np.abs(shares - labels.mean(axis=0)).max() < 0.011


def test_a_rare_label_is_on_both_sides_of_a_sample_where_it_has_two_rows():
    labels = np.zeros((200, 3), dtype=bool)
    labels[::2, 0] = labels[[3, 4], 1] = labels[7, 2] = True
    for size in (10, 190):
        rows = stratified_sample(labels, size, seed=1)
        assert labels[rows].sum(axis=0).tolist()[1:] == [1, 1]
