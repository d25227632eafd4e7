import warnings

import numpy as np
import pytest

from stages.core.errors import UserError
from stages.studies.label_quality import find_label_issues, join_groups, make_folds, score_labels


def make_labels(rows=600, classes=3, wrong_share=0.1, seed=0):
    """Labels, of which some are wrong, probabilities of a good model, and which labels are wrong."""
    generator = np.random.default_rng(seed)
    true = generator.integers(classes, size=rows)
    logits = generator.normal(size=(rows, classes)) + 3 * np.eye(classes)[true]
    probabilities = np.exp(2 * logits) / np.exp(2 * logits).sum(axis=1, keepdims=True)
    wrong = generator.random(rows) < wrong_share
    labels = np.where(wrong, (true + generator.integers(1, classes, size=rows)) % classes, true)
    return labels, probabilities, wrong


def test_rows_of_one_group_are_in_one_fold_and_folds_have_the_class_shares():
    labels, groups = np.repeat([0, 0, 1], 100), np.repeat(np.arange(150), 2)
    fold_of_row = make_folds(labels, groups, folds=5, seed=1)
    assert (fold_of_row[::2] == fold_of_row[1::2]).all()
    assert sorted(set(fold_of_row.tolist())) == [0, 1, 2, 3, 4]
    assert [labels[fold_of_row == fold].mean() for fold in range(5)] == pytest.approx([1 / 3] * 5, abs=0.05)


def test_the_seed_alone_decides_the_folds():
    labels, groups = np.repeat([0, 1], 50), np.arange(100)
    first, again, other = (make_folds(labels, groups, 5, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("seed", range(5))
def test_a_class_with_two_rows_is_in_every_training_part(seed):
    labels = np.array([0] * 50 + [1] * 50 + [2] * 2)
    fold_of_row = make_folds(labels, np.arange(102), 5, seed)
    assert all(set(labels[fold_of_row != fold]) == {0, 1, 2} for fold in range(5))


@pytest.mark.parametrize("rare", [1, 3])
def test_a_class_whose_rows_are_in_one_fold_is_refused(rare):
    labels, groups = np.array([0] * 50 + [1] * rare), np.array([*range(50), *[50] * rare])
    with pytest.raises(UserError, match=rf"class 1 has {rare} row\(s\), all in fold \d, .* use more rows"):
        make_folds(labels, groups, 5, 0)


def test_too_few_rows_for_the_folds_are_refused():
    with pytest.raises(UserError, match=r"3 different rows cannot be divided into 5 folds\. Use at most 3"):
        make_folds(np.array([0, 1] * 3), np.array([0, 1, 2] * 2), 5, 0)
    with pytest.raises(UserError, match="no class has 5 rows, which 5 folds need; the largest has 3"):
        make_folds(np.array([0, 1] * 3), np.arange(6), 5, 0)


@pytest.mark.parametrize("classes", [2, 5])
def test_most_wrong_labels_are_found_and_few_others(classes):
    labels, probabilities, wrong = make_labels(classes=classes)
    rows = [issue.row for issue in find_label_issues(labels, probabilities)]
    assert wrong[rows].mean() > 0.8
    assert wrong[rows].sum() > 0.7 * wrong.sum()


def test_issues_come_worst_first_with_the_class_that_is_suggested():
    labels, probabilities, _ = make_labels()
    issues = find_label_issues(labels, probabilities)
    assert [issue.score for issue in issues] == sorted(issue.score for issue in issues)
    for issue in issues:
        given, suggested = labels[issue.row], probabilities[issue.row].argmax()
        assert (issue.given, issue.suggested) == ((given,), (suggested,))
        assert given != suggested
        assert issue.given_probability == probabilities[issue.row, given] < issue.suggested_probability
        assert issue.score == pytest.approx((issue.given_probability - issue.suggested_probability + 1) / 2)


def make_multi_label_rows(rows=400, labels=3):
    """Labels, of which each is wrong in 3 % of the rows, probabilities of a good model, and which are wrong."""
    generator = np.random.default_rng(0)
    true = generator.random((rows, labels)) < 0.3
    probabilities = 1 / (1 + np.exp(-3 * generator.normal(np.where(true, 2, -2))))
    wrong = generator.random(true.shape) < 0.03
    return true ^ wrong, probabilities, wrong


def test_wrong_ones_of_several_labels_are_found_and_the_right_set_is_suggested():
    labels, probabilities, wrong = make_multi_label_rows()
    issues = find_label_issues(labels, probabilities)
    rows = [issue.row for issue in issues]
    assert wrong[rows].any(axis=1).mean() > 0.6
    assert wrong[rows].any(axis=1).sum() > 0.7 * wrong.any(axis=1).sum()
    repaired = [issue.suggested == tuple(np.flatnonzero((labels ^ wrong)[issue.row])) for issue in issues]
    assert np.mean(repaired) > 0.6
    assert [issue.score for issue in issues] == sorted(issue.score for issue in issues)


def test_folds_of_several_labels_keep_groups_together_and_have_each_label_elsewhere():
    labels, groups = make_multi_label_rows()[0], np.arange(400) // 4
    folds = make_folds(labels, groups, 5, 0)
    assert all(len(set(folds[groups == group])) == 1 for group in range(100))
    assert all(labels[folds != fold].any(axis=0).all() for fold in range(5))


def test_rows_that_either_division_connects_are_one_group():
    joined = join_groups(np.array(["a", "a", "b", "c", "d"]), np.array([1, 2, 2, 3, 3]))
    assert len(set(joined[:3])) == len(set(joined[3:])) == 1
    assert joined[0] != joined[3]


def test_the_order_of_rows_does_not_matter():
    labels, probabilities, _ = make_labels()
    order = np.random.default_rng(1).permutation(len(labels))
    mixed = find_label_issues(labels[order], probabilities[order])
    assert [int(order[issue.row]) for issue in mixed] == [i.row for i in find_label_issues(labels, probabilities)]


def test_a_model_that_agrees_with_all_labels_gives_no_issue():
    labels = np.array([0, 1, 2] * 10)
    assert find_label_issues(labels, np.eye(3)[labels] * 0.7 + 0.1) == []
    assert score_labels(labels, np.eye(3)[labels]).tolist() == [1] * 30
    assert score_labels(labels, np.eye(3)[labels - 1]).tolist() == [0] * 30


def test_classes_that_never_occur_change_nothing():
    labels, probabilities, _ = make_labels(classes=2)
    wider = np.insert(probabilities, [0, 2], 0, axis=1)  # the classes 0 and 3 of four
    found, expected = find_label_issues(labels + 1, wider), find_label_issues(labels, probabilities)
    assert [issue.row for issue in found] == [issue.row for issue in expected]
    assert {issue.given for issue in found} == {(1,), (2,)}


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_few_rows_and_a_single_class_are_no_error(rows):
    generator = np.random.default_rng(0)
    for _ in range(20):
        labels, probabilities = generator.integers(3, size=rows), generator.dirichlet(np.ones(3), size=rows)
        assert len(find_label_issues(labels, probabilities.astype(np.float32))) <= rows
    assert find_label_issues(np.full(rows, 2), probabilities) == []


def test_nothing_is_printed_and_nothing_warned_of(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_label_issues(np.array([0, 2, 0]), np.full((3, 4), 0.25))
    assert capfd.readouterr() == ("", "")
