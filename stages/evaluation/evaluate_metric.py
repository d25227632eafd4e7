"""The metrics of a validation as a metric of the library `evaluate`.

A module of its own, since `evaluate` imports transformers' pipelines: the stage that tests needs neither.
"""

import datasets
import evaluate
import numpy as np

from stages.evaluation.metrics import score_classes
from stages.evaluation.predictions import LabelledPredictions

CITATION = "Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, pp. 2825-2830, 2011."


class ClassificationMetrics(evaluate.Metric):
    """The metrics of `score_classes`.

    `evaluate.load("accuracy")` downloads code from the hub. These metrics are scikit-learn's, computed offline.
    """

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(predictions=datasets.Value("int64"), references=datasets.Value("int64"))
        return evaluate.MetricInfo(description=self.__doc__, citation=CITATION, features=features)

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        return score_classes(np.asarray(predictions), np.asarray(references))


def compute_validation_metrics(predictions: LabelledPredictions) -> dict[str, float]:
    """What `compute_metrics` computes, through the library."""
    module = ClassificationMetrics(keep_in_memory=True)
    values = module.compute(predictions=predictions.predicted, references=predictions.labels)
    return values | {"loss": float(predictions.losses.mean())}
