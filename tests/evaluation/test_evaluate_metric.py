import socket

import evaluate
import numpy as np

from stages.evaluation.evaluate_metric import ClassificationMetrics, compute_validation_metrics
from stages.evaluation.metrics import compute_metrics
from stages.evaluation.predictions import LabelledPredictions


def test_the_metric_is_one_of_the_evaluate_library_and_needs_no_hub(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", None)  # any use of the network fails
    module = ClassificationMetrics(keep_in_memory=True)
    assert isinstance(module, evaluate.Metric)
    assert module.compute(predictions=[0, 1], references=[0, 1])["f1_macro"] == 1


def test_a_validation_has_exactly_the_metrics_of_the_test():
    random = np.random.default_rng(0)
    predictions = LabelledPredictions(random.normal(size=(200, 3)).astype(np.float32), random.integers(0, 3, 200))
    assert compute_validation_metrics(predictions) == compute_metrics(predictions)
