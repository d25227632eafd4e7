import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.project import ROOT

from stages.evaluation.predictions import LabelledPredictions, Predictions

LOGITS = np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 5.0], [2.0, 0.0], [0.0, 9.0]], dtype=np.float32)
LABELS = np.array([0, 0, 0, 1, 1])


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
@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3), min_size=1)
)
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


def test_predictions_load_no_library_but_numpy():
    code = "import sys, stages.evaluation.predictions; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "numpy" in loaded.split()
    assert not {"torch", "transformers", "datasets", "evaluate", "sklearn", "pandas"} & set(loaded.split())
