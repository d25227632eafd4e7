"""The metrics of the pipeline, as a module of the `evaluate` library that needs no hub."""

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

CALIBRATION_BINS = 15
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


def compute_test_metrics(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Those of `compute_metrics`, the recall of the class that is found worst, the calibration error, and the rows."""
    found = np.bincount(labels[logits.argmax(-1) == labels], minlength=logits.shape[1])
    rows = np.bincount(labels, minlength=logits.shape[1])
    return compute_metrics(logits, labels) | {
        "recall_worst_class": float((found[rows > 0] / rows[rows > 0]).min()),
        "calibration_error": calibration_error(logits, labels),
        "rows": len(labels),
    }


def calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: how far confidence is from accuracy, on average over rows, in bins of confidence.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, with their 15 bins of equal width.
    """
    gaps = (abs(one["confidence"] - one["accuracy"]) * one["rows"] for one in calibration_bins(logits, labels))
    return float(sum(gaps) / len(labels))


def calibration_bins(logits: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    """Mean confidence, accuracy and number of the rows in each bin of confidence that has any, lowest first."""
    confidence, right = np.exp(log_softmax(logits).max(-1)), logits.argmax(-1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        {
            "confidence": float(confidence[bins == number].mean()),
            "accuracy": float(right[bins == number].mean()),
            "rows": int((bins == number).sum()),
        }
        for number in np.unique(bins)
    ]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Natural log of the class probabilities, `(N, C)`, in double precision."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
