import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from stages.evaluation.ranking import rank_scores, score_ranking


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(2, 40), decimals=st.integers(0, 3), seed=st.integers(0, 1000))
def test_rankings_of_weighted_rows_are_those_of_scikit_learn_also_of_equal_scores(rows, decimals, seed):
    random = np.random.default_rng(seed)
    scores, is_member = random.random(rows).round(decimals), random.random(rows) < 0.4
    is_member[:2] = [True, False]
    weights = random.integers(0, 4, size=(3, rows)).astype(float)
    weights[:, :2] += 1  # scikit-learn has none of members without weight
    areas, precisions = score_ranking(rank_scores(scores, is_member), weights)
    for number, weight in enumerate(weights):
        assert areas[number] == pytest.approx(roc_auc_score(is_member, scores, sample_weight=weight))
        expected = average_precision_score(is_member, scores, sample_weight=weight)
        assert precisions[number] == pytest.approx(expected)


def test_without_members_or_without_others_it_is_not_defined():
    ranking = rank_scores(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]))
    weights = np.array([[0.0, 2, 0], [1, 0, 1]])
    areas, precisions = score_ranking(ranking, weights)
    assert np.isnan(areas).all()
    assert np.isnan(precisions[0])
    assert precisions[1] == 1


def test_a_row_may_have_several_scores():
    random = np.random.default_rng(0)
    scores, is_member = random.random((30, 3)).round(1), random.random((30, 3)) < 0.4
    weights = random.integers(0, 3, size=(2, 30)).astype(float)
    _, found = score_ranking(rank_scores(scores.ravel(), is_member.ravel(), columns=3), weights)
    for number, weight in enumerate(weights):
        expected = average_precision_score(is_member, scores, average="micro", sample_weight=weight)
        assert found[number] == pytest.approx(expected)
