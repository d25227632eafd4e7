import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stages.core.errors import UserError
from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.evaluation.predictions import make_predictions
from stages.evaluation.thresholds import (
    MOST_POINTS,
    Goal,
    coverage_curve,
    find_between,
    fit_thresholds,
    parse_goal,
)

NAMES = ["a", "b", "c"]


def predict(problem_type, logits, labels, thresholds=None):
    return make_predictions(problem_type, np.asarray(logits), np.asarray(labels), NAMES, thresholds)


def draw(problem_type, rows, seed):
    """Random predictions with many equal logits, of which more are right than by chance."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, 3)).round(1)
    noisy = logits + random.normal(size=logits.shape)
    return predict(problem_type, logits, noisy > 0 if problem_type == MULTI_LABEL else noisy.argmax(-1))


def measure(decided, true, total):
    """Precision, recall and F1 of decisions; `total` is what recall is a share of."""
    hits, given = (decided & true).sum(), decided.sum()
    return {"precision": hits / max(given, 1), "recall": hits / max(total, 1), "f1": 2 * hits / max(given + total, 1)}


def list_decisions(predictions):
    """For each threshold that is fitted: probabilities, which are true, and what recall is a share of."""
    if predictions.labels.ndim == 2:
        return [(p, t, t.sum()) for p, t in zip(predictions.probabilities.T, predictions.labels.T, strict=True)]
    return [(predictions.confidence, predictions.correct, len(predictions.labels))]


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("max f1", Goal("f1")),
        ("precision >= 0.95", Goal("precision", 0.95)),
        ("recall ≥ 0.9", Goal("recall", 0.9)),
        ("precision>=1", Goal("precision", 1)),
        ("recall >= 1.0", Goal("recall", 1)),
    ],
)
def test_goals_are_read(text, goal):
    assert parse_goal(text) == goal


@pytest.mark.parametrize("text", ["max f2", "precision > 0.9", "precision >= 95", "recall >= 0", "recall >= 0.0", ""])
def test_other_goals_are_an_error(text):
    with pytest.raises(UserError, match=f"train.threshold: found '{text}'; allowed: max f1, precision >= P"):
        parse_goal(text)


@given(st.sampled_from([SINGLE_LABEL, MULTI_LABEL]), st.integers(1, 60), st.integers(0, 10**6), st.floats(0.05, 1))
def test_no_other_threshold_is_better(problem_type, rows, seed, least):
    predictions = draw(problem_type, rows, seed)
    for goal in (Goal("f1"), Goal("precision", least), Goal("recall", least)):
        try:
            thresholds = fit_thresholds(goal, predictions)
        except UserError:
            assert goal.measure != "f1"
            continue
        for threshold, (probabilities, true, total) in zip(thresholds, list_decisions(predictions), strict=True):
            found = measure(probabilities >= threshold, true, total)
            others = [(one, measure(probabilities >= one, true, total)) for one in np.unique(probabilities)]
            assert found[goal.measure] >= goal.least or not true.any()
            if goal.measure == "f1":
                assert found["f1"] >= max(other["f1"] for _, other in others) - 1e-12
            elif goal.measure == "precision":
                reached = [other["recall"] for _, other in others if other["precision"] >= least]
                assert found["recall"] == max(reached)
            else:
                assert not [one for one, other in others if one > threshold and other["recall"] >= least][
                    1:
                ]  # its own one


def test_a_goal_that_is_just_reached_counts():
    logits = np.log([[p, 1 - p] for p in np.linspace(0.99, 0.6, 20)])
    labels = np.array([0] * 19 + [1])  # 19 of 20 are correct: exactly 0.95
    (threshold,) = fit_thresholds(Goal("precision", 0.95), predict(SINGLE_LABEL, logits, labels))
    assert threshold < 0.6


def test_one_label_a_text_is_answered_or_not():
    logits = np.log([[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.5, 0.4, 0.1]])
    predictions = predict(SINGLE_LABEL, logits, [0, 0, 1, 0])  # right, right, wrong, right
    assert fit_thresholds(Goal("precision", 1.0), predictions) == [0.7]  # halfway between 0.6 and 0.8
    assert fit_thresholds(Goal("precision", 0.75), predictions) == [0.25]  # all are answered
    assert fit_thresholds(Goal("recall", 0.5), predictions) == [0.7]
    assert fit_thresholds(Goal("recall", 0.75), predictions) == [0.25]
    assert fit_thresholds(Goal("f1"), predictions) == [0.25]  # 2 * 3 / (4 + 4) against 2 * 2 / (2 + 4)


def test_each_of_several_labels_has_its_own_threshold():
    probabilities = np.array([[0.9, 0.2, 0.9], [0.6, 0.4, 0.2], [0.3, 0.1, 0.7], [0.1, 0.05, 0.3]])
    labels = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 1], [0, 0, 0]])
    predictions = predict(MULTI_LABEL, np.log(probabilities / (1 - probabilities)), labels)
    thresholds = fit_thresholds(Goal("f1"), predictions)
    assert thresholds == pytest.approx([0.45, 0.15, 0.5])
    again = predict(MULTI_LABEL, predictions.logits, labels, thresholds)
    assert np.array_equal(again.predicted, labels.astype(bool))


@given(st.sampled_from([SINGLE_LABEL, MULTI_LABEL]), st.integers(1, 60), st.integers(0, 10**6))
def test_stored_thresholds_make_the_same_decisions_also_of_slightly_other_probabilities(problem_type, rows, seed):
    predictions = draw(problem_type, rows, seed)
    thresholds = fit_thresholds(Goal("f1"), predictions)
    stored = json.loads(json.dumps(thresholds.tolist()))
    for before, after, (probabilities, true, _) in zip(thresholds, stored, list_decisions(predictions), strict=True):
        assume(true.any() and (np.diff(np.unique(probabilities), prepend=0) > 1e-6).all())
        for change in (-1e-9, 0, 1e-9):  # as of a sum in another order
            assert np.array_equal(probabilities + change >= after, probabilities >= before)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_number_between_two_is_above_the_lower_one(first, second):
    low, high = sorted((first, second))
    if low < high:
        assert low < find_between(low, high) <= high


def test_probabilities_of_nearly_one_are_told_apart():
    assert find_between(1 - 2**-53, 1.0) == 1.0
    assert find_between(0.0, 5e-324) == 5e-324


@pytest.mark.parametrize(("goal", "best"), [(Goal("precision", 0.9), "0.5000"), (Goal("recall", 0.6), "0.5000")])
def test_an_unreachable_goal_names_itself_and_the_best(goal, best):
    predictions = predict(SINGLE_LABEL, [[1, 0, 0], [1, 0, 0]], [0, 1])
    message = f"train.threshold: found '{goal.measure} >= {goal.least}'; no threshold reaches it on validation, where "
    with pytest.raises(UserError, match=f"{message}the best {goal.measure} is {best}"):
        fit_thresholds(goal, predictions)


def test_an_unreachable_goal_names_the_labels_and_the_best_of_each():
    labels = [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    predictions = predict(MULTI_LABEL, [[2, 2, 0], [1, 1, 0], [0, 2, 0]], labels)
    message = r"for 2 of 3 labels, whose best precision is in brackets: a \(0.5000\), c \(no rows\). Use a lower"
    with pytest.raises(UserError, match=message):
        fit_thresholds(Goal("precision", 0.9), predictions)


def test_a_model_that_is_always_wrong_reaches_nothing_and_has_a_threshold_for_f1():
    predictions = predict(SINGLE_LABEL, [[1, 0, 0], [1, 0, 0]], [1, 1])
    assert fit_thresholds(Goal("f1"), predictions) == [0.5]
    with pytest.raises(UserError, match=r"the best recall is 0\.0000"):
        fit_thresholds(Goal("recall", 0.1), predictions)


def test_the_coverage_curve_ends_with_all_rows_and_their_accuracy():
    predictions = draw(SINGLE_LABEL, 5000, 0)
    curve = coverage_curve(predictions)
    assert len(curve) == MOST_POINTS
    assert (curve[-1]["coverage"], curve[-1]["accuracy"]) == (1, predictions.correct.mean())
    for point in curve:
        answered = predictions.confidence >= point["threshold"]
        assert point["coverage"] == answered.mean()
        assert point["accuracy"] == pytest.approx(predictions.correct[answered].mean())


def test_rows_of_equal_confidence_are_one_point_of_the_curve():
    curve = coverage_curve(predict(SINGLE_LABEL, [[1, 0, 0], [0, 1, 0], [9, 0, 0]], [0, 0, 0]))
    assert [(point["coverage"], point["accuracy"]) for point in curve] == [(1 / 3, 1.0), (1.0, 2 / 3)]
