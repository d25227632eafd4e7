"""The metrics of the pipeline, as a module of the `evaluate` library that needs no hub."""

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

CITATION = "Pedregosa et al., Scikit-learn: Machine Learning in Python, JMLR 12, pp. 2825-2830, 2011."


class ClassificationMetrics(evaluate.Metric):
    """Accuracy, and precision, recall and F1 averaged over classes with equal weight.

    `evaluate.load("accuracy")` and its like fetch code from the hub; these are scikit-learn's, computed offline.
    A class that is never predicted has precision 0.
    """

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features(predictions=datasets.Value("int64"), references=datasets.Value("int64"))
        return evaluate.MetricInfo(description=self.__doc__, citation=CITATION, features=features)

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        precision, recall, f1, _ = precision_recall_fscore_support(
            references, predictions, average="macro", zero_division=0
        )
        return {
            "accuracy": float(accuracy_score(references, predictions)),
            "precision_macro": float(precision),
            "recall_macro": float(recall),
            "f1_macro": float(f1),
        }


def compute_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """All metrics of logits `(N, C)` against label indices `(N,)`, the mean cross-entropy `loss` included."""
    module = ClassificationMetrics(keep_in_memory=True)
    values = module.compute(predictions=logits.argmax(-1), references=labels)
    return values | {"loss": float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())}


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Natural log of the class probabilities, `(N, C)`, in double precision."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
