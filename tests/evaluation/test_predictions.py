import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.project import ROOT

from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.evaluation.predictions import (
    LabelledMultiLabelPredictions,
    LabelledPredictions,
    MultiLabelPredictions,
    Predictions,
    make_predictions,
)

LOGITS = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 5.0], [2.0, 0.0], [0.0, 9.0]], dtype=np.float32)
LABELS = np.array([0, 0, 0, 1, 1])
MULTI_LOGITS = np.array([[2.0, -2.0, 0.0], [-4.0, -1.0, -1.5], [4.0, 4.0, 5.0]], dtype=np.float32)
MULTI_LABELS = np.array([[1, 0, 0], [0, 0, 0], [0, 1, 1]], dtype=bool)
MULTI = LabelledMultiLabelPredictions(MULTI_LOGITS, MULTI_LABELS, names=["a", "b", "c"])
FINITE_ROWS = st.lists(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3), min_size=1
)


def test_the_predicted_class_has_the_highest_logit_and_a_name():
    predictions = Predictions(LOGITS, names=["bad", "good"])
    assert predictions.predicted.tolist() == [0, 1, 1, 0, 1]
    assert predictions.predicted_names == ["bad", "good", "good", "bad", "good"]


def test_log_probabilities_are_those_of_softmax_in_double_precision():
    found = Predictions(LOGITS).log_probabilities
    assert found.dtype == np.float64
    assert np.exp(found).sum(axis=1) == pytest.approx(1, abs=1e-15)
    assert found[0] == pytest.approx([-np.log1p(np.exp(-3)), -3 - np.log1p(np.exp(-3))], abs=1e-15)


@settings(max_examples=50, deadline=None)
@given(FINITE_ROWS)
def test_confidence_is_a_probability_for_all_finite_logits(logits):
    predictions = Predictions(np.array(logits, dtype=np.float32))
    assert (predictions.confidence >= 1 / 3 - 1e-12).all()
    assert (predictions.confidence <= 1).all()


def test_log_probabilities_as_logits_change_nothing():
    predictions = Predictions(LOGITS)
    assert Predictions(predictions.log_probabilities).confidence == pytest.approx(predictions.confidence, abs=1e-15)


def test_huge_logits_do_not_overflow():
    predictions = LabelledPredictions(np.array([[3e38, -3e38]], dtype=np.float32), np.array([0]))
    assert (predictions.confidence[0], predictions.losses[0]) == (1, 0)


def test_no_texts_have_no_predictions():
    predictions = Predictions(np.empty((0, 2), dtype=np.float32), names=["bad", "good"])
    assert predictions.predicted_names == []
    assert predictions.confidence.shape == (0,)


def test_correctness_losses_and_confusion_are_those_counted_by_hand():
    predictions = LabelledPredictions(LOGITS, LABELS, names=["bad", "good"])
    assert predictions.label_names == ["bad", "bad", "bad", "good", "good"]
    assert predictions.correct.tolist() == [True, False, False, False, True]
    assert predictions.losses[2] == pytest.approx(5 + np.log1p(np.exp(-5)))
    assert predictions.confusion.tolist() == [[1, 2], [1, 1]]


def test_mistakes_are_found_most_confident_first():
    predictions = LabelledPredictions(LOGITS, LABELS)
    assert predictions.find_most_confident_mistakes(count=50).tolist() == [2, 3, 1]
    assert predictions.find_most_confident_mistakes(count=1).tolist() == [2]
    equal = LabelledPredictions(np.tile([0.0, 1.0], (4, 1)), np.array([0, 1, 0, 0]))
    assert equal.find_most_confident_mistakes(count=2).tolist() == [0, 2]


def test_probabilities_are_those_of_softmax():
    expected = torch.tensor(LOGITS, dtype=torch.float64).softmax(-1).numpy()
    assert Predictions(LOGITS).probabilities == pytest.approx(expected, abs=1e-15)


def test_a_prediction_below_the_threshold_is_no_answer():
    assert Predictions(LOGITS).answered.all()
    predictions = Predictions(LOGITS, thresholds=np.array([0.9]))
    assert predictions.answered.tolist() == [True, False, True, False, True]
    assert predictions.predicted.tolist() == Predictions(LOGITS).predicted.tolist()
    assert Predictions(np.zeros((1, 2)), thresholds=np.array([0.5])).answered.all()


@settings(max_examples=50, deadline=None)
@given(FINITE_ROWS)
def test_multi_label_probabilities_and_losses_are_those_of_torch_for_all_finite_logits(logits):
    logits = np.array(logits, dtype=np.float32)
    labels = np.arange(logits.size).reshape(logits.shape) % 2 == 0
    predictions = LabelledMultiLabelPredictions(logits, labels)
    doubles, targets = torch.tensor(logits, dtype=torch.float64), torch.tensor(labels, dtype=torch.float64)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(doubles, targets, reduction="none").mean(-1)
    assert predictions.probabilities == pytest.approx(doubles.sigmoid().numpy(), abs=1e-15)
    assert predictions.log_probabilities == pytest.approx(torch.nn.functional.logsigmoid(doubles).numpy(), rel=1e-12)
    assert predictions.losses == pytest.approx(losses.numpy(), rel=1e-12)
    assert ((predictions.confidence >= 0.5) & (predictions.confidence <= 1)).all()


def test_a_label_is_predicted_from_its_threshold_on():
    assert MULTI.predicted.tolist() == [[1, 0, 1], [0, 0, 0], [1, 1, 1]]
    assert MULTI.predicted_names == ["a|c", "", "a|b|c"]
    higher = MultiLabelPredictions(MULTI_LOGITS, names="abc", thresholds=np.array([0.5, 0.1, 0.9]))
    assert higher.predicted_names == ["a|b", "b", "a|b|c"]


def test_the_confidence_of_a_text_is_that_of_its_least_certain_decision():
    assert MULTI.confidence == pytest.approx([0.5, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-4))])
    assert MULTI.answered.all()
    sure = MultiLabelPredictions(np.array([[0.0, 9.0]]), thresholds=np.array([0.9, 0.5]))
    assert sure.confidence == pytest.approx([0.5])


def test_multi_label_correctness_and_confusion_are_those_counted_by_hand():
    assert MULTI.label_names == ["a", "", "b|c"]
    assert MULTI.correct.tolist() == [False, True, False]
    assert MULTI.confusion_names == ["a", "b", "c", "(none)"]
    assert MULTI.confusion.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 1, 0]]
    missed = LabelledMultiLabelPredictions(-np.ones((2, 2)), np.array([[True, False], [True, True]]))
    assert missed.confusion.tolist() == [[0, 0, 2], [0, 0, 1], [0, 0, 0]]
    assert MULTI.find_most_confident_mistakes(count=50).tolist() == [2, 0]


def test_the_problem_type_decides_which_predictions_are_made():
    kinds = [
        type(make_predictions(problem_type, MULTI_LOGITS, labels))
        for problem_type, labels in (
            (SINGLE_LABEL, None), (SINGLE_LABEL, np.array([0, 1, 2])),
            (MULTI_LABEL, None), (MULTI_LABEL, MULTI.labels.astype(np.float32)),
        )
    ]  # fmt: skip
    assert kinds == [Predictions, LabelledPredictions, MultiLabelPredictions, LabelledMultiLabelPredictions]
    made = make_predictions(MULTI_LABEL, MULTI_LOGITS, MULTI.labels.astype(int), "abc", thresholds=[0.1, 0.1, 0.1])
    assert made.predicted_names == ["a|b|c", "b|c", "a|b|c"]
    assert made.labels.dtype == bool


def test_no_texts_have_no_labels():
    predictions = make_predictions(MULTI_LABEL, np.empty((0, 2), dtype=np.float32), names=["bad", "good"])
    assert predictions.predicted_names == []
    assert predictions.confidence.shape == (0,)


def test_predictions_load_no_library_but_numpy():
    code = "import sys, stages.evaluation.predictions; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "numpy" in loaded.split()
    assert not {"torch", "transformers", "datasets", "evaluate", "sklearn", "pandas"} & set(loaded.split())
