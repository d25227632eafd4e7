import socket

import evaluate
import numpy as np
import pytest

from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.evaluation.evaluate_metric import ClassificationMetrics, compute_validation_metrics
from stages.evaluation.metrics import compute_metrics
from stages.evaluation.predictions import make_predictions


def test_the_metric_is_one_of_the_evaluate_library_and_needs_no_hub(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", None)  # any use of the network fails
    module = ClassificationMetrics(config_name=SINGLE_LABEL, keep_in_memory=True)
    assert isinstance(module, evaluate.Metric)
    assert module.compute(predictions=[[2.0, 1.0], [0.0, 1.0]], references=[0, 1])["f1_macro"] == 1


@pytest.mark.parametrize(("problem_type", "thresholds"), [(SINGLE_LABEL, [0.9]), (MULTI_LABEL, [0.1, 0.5, 0.9])])
def test_a_validation_has_exactly_the_metrics_of_the_test(problem_type, thresholds):
    random = np.random.default_rng(0)
    logits = random.normal(size=(200, 3)).astype(np.float32)
    labels = random.integers(0, 3, 200) if problem_type == SINGLE_LABEL else random.random((200, 3)) < 0.3
    for options in ({}, {"thresholds": thresholds, "is_ordinal": problem_type == SINGLE_LABEL}):
        predictions = make_predictions(problem_type, logits, labels, **options)
        assert compute_validation_metrics(predictions) == compute_metrics(predictions)
