"""The metrics of a validation as a metric of the library `evaluate`.

A module of its own, since `evaluate` imports transformers' pipelines: the stage that tests needs neither.
"""

from typing import Any

import datasets
import evaluate
import numpy as np

from stages.core.problem_type import MULTI_LABEL
from stages.evaluation.metrics import compute_metrics
from stages.evaluation.predictions import LabelledPredictions, make_predictions

CITATION = "Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, pp. 2825-2830, 2011."


class ClassificationMetrics(evaluate.Metric):
    """The metrics of `compute_metrics`; `config_name` is the problem type, and the predictions are logits.

    `evaluate.load("accuracy")` downloads code from the hub. These metrics are scikit-learn's, computed offline.
    """

    def _info(self) -> evaluate.MetricInfo:
        label = datasets.Value("int64")
        references = datasets.List(datasets.Value("bool")) if self.config_name == MULTI_LABEL else label
        features = datasets.Features(predictions=datasets.List(datasets.Value("float32")), references=references)
        return evaluate.MetricInfo(description=self.__doc__, citation=CITATION, features=features)

    def _compute(self, predictions: Any, references: Any, **options: Any) -> dict[str, float]:
        logits, labels = np.asarray(predictions), np.asarray(references)
        return compute_metrics(make_predictions(self.config_name, logits, labels, **options))


def compute_validation_metrics(predictions: LabelledPredictions) -> dict[str, float]:
    """What `compute_metrics` computes, through the library."""
    module = ClassificationMetrics(config_name=predictions.problem_type, keep_in_memory=True)
    return module.compute(
        predictions=predictions.logits,
        references=predictions.labels,
        thresholds=predictions.thresholds,
        is_ordinal=predictions.is_ordinal,
    )
