"""Each metric equals the function of scikit-learn that it is named after."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.evaluation.metrics import compute_metrics
from stages.evaluation.predictions import make_predictions


def make_single(rows=60, classes=3, seed=0, occurring=None, is_ordinal=False):
    """Random predictions; labels are those below `occurring`."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, occurring or classes, rows)
    logits = random.normal(size=(rows, classes)).round(1).astype(np.float32)  # some are equal
    return make_predictions(SINGLE_LABEL, logits, labels, is_ordinal=is_ordinal)


def make_multi(rows=60, classes=4, seed=0, share=0.3):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, classes)).round(1).astype(np.float32)
    return make_predictions(MULTI_LABEL, logits, random.random((rows, classes)) < share)


@settings(max_examples=25, deadline=None)
@given(classes=st.integers(2, 7), seed=st.integers(0, 1000), is_ordinal=st.booleans())
def test_metrics_of_classes_are_those_of_scikit_learn(classes, seed, is_ordinal):
    made = make_single(classes=classes, seed=seed, is_ordinal=is_ordinal)
    labels, predicted, probabilities = made.labels, made.predicted, made.probabilities
    one_hot = np.eye(classes)[labels]
    options = {"labels": range(classes)}
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(labels, predicted),
        "matthews_corrcoef": metrics.matthews_corrcoef(labels, predicted),
        "f1_weighted": metrics.f1_score(labels, predicted, average="weighted", zero_division=0),
        "roc_auc": metrics.roc_auc_score(labels, probabilities, multi_class="ovr", **options) if classes > 2
        else metrics.roc_auc_score(labels, probabilities[:, 1]),
        "average_precision": metrics.average_precision_score(one_hot, probabilities),
        "brier_score": metrics.brier_score_loss(labels, probabilities, **options),
        "loss": metrics.log_loss(labels, probabilities, **options),
    }  # fmt: skip
    for name, score in (("precision", metrics.precision_score), ("recall", metrics.recall_score)):
        expected[f"{name}_macro"] = score(labels, predicted, average="macro", zero_division=0)
    expected["f1_macro"] = metrics.f1_score(labels, predicted, average="macro", zero_division=0)
    if classes > 5:
        expected["top_3_accuracy"] = metrics.top_k_accuracy_score(labels, probabilities, k=3, **options)
    if is_ordinal:
        expected["mean_absolute_error"] = metrics.mean_absolute_error(labels, predicted)
        expected["quadratic_weighted_kappa"] = metrics.cohen_kappa_score(labels, predicted, weights="quadratic")
    assert compute_metrics(made) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(classes=st.integers(2, 5), seed=st.integers(0, 1000))
def test_metrics_of_sets_of_labels_are_those_of_scikit_learn(classes, seed):
    made = make_multi(classes=classes, seed=seed)
    labels, predicted, probabilities = made.labels, made.predicted, made.probabilities
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "hamming_loss": metrics.hamming_loss(labels, predicted),
        "roc_auc": metrics.roc_auc_score(labels, probabilities, average="macro"),
        "average_precision": metrics.average_precision_score(labels, probabilities, average="macro"),
        "average_precision_micro": metrics.average_precision_score(labels, probabilities, average="micro"),
        "brier_score": metrics.mean_squared_error(labels, probabilities),
        "loss": metrics.log_loss(labels.ravel(), probabilities.ravel()),
    }
    for average in ("micro", "macro", "weighted"):
        expected[f"f1_{average}"] = metrics.f1_score(labels, predicted, average=average, zero_division=0)
    expected["f1_samples"] = metrics.f1_score(labels, predicted, average="samples", zero_division=1)
    for average in ("micro", "macro"):
        expected[f"precision_{average}"] = metrics.precision_score(labels, predicted, average=average, zero_division=0)
        expected[f"recall_{average}"] = metrics.recall_score(labels, predicted, average=average, zero_division=0)
    assert compute_metrics(made) == pytest.approx(expected, rel=1e-9)


def test_a_class_without_rows_is_left_out_of_rankings_and_gives_no_warning():
    made = make_single(classes=4, occurring=3)
    with warnings.catch_warnings(action="error"):
        found = compute_metrics(made)
    by_class = [metrics.roc_auc_score(made.labels == one, made.probabilities[:, one]) for one in range(3)]
    precisions = [metrics.average_precision_score(made.labels == one, made.probabilities[:, one]) for one in range(3)]
    recalls = [(made.predicted == one)[made.labels == one].mean() for one in range(3)]
    assert found["roc_auc"] == pytest.approx(np.mean(by_class))
    assert found["average_precision"] == pytest.approx(np.mean(precisions))
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert found["recall_macro"] == pytest.approx(np.sum(recalls) / 4)  # the fourth is predicted, and has recall 0


def test_a_metric_that_is_not_defined_for_labels_of_one_class_is_left_out():
    with warnings.catch_warnings(action="error"):
        found = compute_metrics(make_single(occurring=1, is_ordinal=True))
        logits = np.eye(3, dtype=np.float32)[[0, 0]]
        all_right = compute_metrics(make_predictions(SINGLE_LABEL, logits, np.array([0, 0]), is_ordinal=True))
    assert "roc_auc" not in found
    assert found["average_precision"] == 1
    assert "quadratic_weighted_kappa" not in all_right
    assert all_right["mean_absolute_error"] == 0
    assert np.isfinite([*found.values(), *all_right.values()]).all()


def test_labels_that_never_occur_are_left_out_of_macro_averages():
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]])
    logits = np.array([[1, -1, -1], [-1, -1, -1], [1, 1, -1]], dtype=np.float32)
    with warnings.catch_warnings(action="error"):
        found = compute_metrics(make_predictions(MULTI_LABEL, logits, labels))
    first_two = metrics.f1_score(labels[:, :2], logits[:, :2] > 0, average="macro")
    assert found["f1_macro"] == pytest.approx(first_two) == pytest.approx((1 + 2 / 3) / 2)
    assert found["roc_auc"] == pytest.approx((1 + 3 / 4) / 2)
    assert found["average_precision"] == pytest.approx((1 + 5 / 6) / 2)


def test_without_any_label_there_is_no_ranking_and_no_warning():
    with warnings.catch_warnings(action="error"):
        found = compute_metrics(make_multi(share=0))
        none = compute_metrics(make_predictions(MULTI_LABEL, -np.ones((3, 2)), np.zeros((3, 2))))
    assert not {"roc_auc", "average_precision", "average_precision_micro"} & set(found)
    assert (none["accuracy"], none["f1_macro"], none["f1_samples"]) == (1, 0, 1)
