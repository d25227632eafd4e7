"""Resamples of rows, and the metrics of them that no confusion table decides.

R is the number of resamples, N of rows, C of classes. A resample is a weight of each row: how often it was drawn. The
metrics equal those of scikit-learn with `sample_weight`, which takes one resample at a time.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from stages.evaluation.predictions import LabelledPredictions, MultiLabelPredictions
from stages.evaluation.ranking import Ranking, rank_scores, score_ranking
from stages.evaluation.resampled_metrics import Resampled, average, compute_count_metrics, join, merge
from stages.evaluation.scores import get_memberships, has_top, is_among_top

FEWEST, MOST = 200, 2000  # resamples
MOST_STEPS = 5e7  # resamples times rows times classes: one to two seconds
MOST_RANKED = 2e6  # rows times classes whose rankings are resampled, which takes 16 s then
CELLS_AT_ONCE = 1 << 18  # of weights times classes in memory together: 2 MiB, which a core's cache holds


def count_resamples(rows: int, classes: int) -> int:
    """How many resamples of so many rows are drawn: fewer of many, so that it takes seconds."""
    return int(np.clip(MOST_STEPS // (rows * classes), FEWEST, MOST))


def resample_rows(predictions: LabelledPredictions, generator: np.random.Generator) -> Resampled:
    """The metrics of `count_resamples` resamples."""
    rows, classes = predictions.logits.shape
    measures = list_measures(predictions)
    parts = draw_weights(rows, classes, generator)
    return join([merge([measure(weights) for measure in measures]) for weights in parts])


def draw_weights(rows: int, classes: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield weights of rows in parts `(R, N)` that fit in memory."""
    count = count_resamples(rows, classes)
    at_once = max(1, CELLS_AT_ONCE // (rows * classes))
    for start in range(0, count, at_once):
        size = min(at_once, count - start)
        drawn = generator.integers(rows, size=(size, rows)) + np.arange(size)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)


def list_measures(predictions: LabelledPredictions) -> list[Callable[[np.ndarray], Resampled]]:
    """Functions that compute metrics from weights of the rows, `(R, N)`."""
    probabilities, belongs = predictions.probabilities, get_memberships(predictions)
    ranked = np.flatnonzero(belongs.any(0)).tolist() if belongs.size <= MOST_RANKED else []
    rankings = {number: rank_scores(probabilities[:, number], belongs[:, number]) for number in ranked}
    measures: list[Callable[[np.ndarray], Resampled]] = [
        partial(average_rows, compute_row_values(predictions)),
        partial(score_rankings, rankings, belongs.shape[1]),
    ]
    if isinstance(predictions, MultiLabelPredictions):
        measures.append(partial(count_decisions, belongs, predictions.predicted))
        if rankings:
            together = rank_scores(probabilities.ravel(), belongs.ravel(), columns=belongs.shape[1])
            measures.append(partial(score_decisions, together))
    return measures


def average_rows(values: dict[str, np.ndarray], weights: np.ndarray) -> Resampled:
    """Weighted means of values of the rows."""
    means = weights @ np.stack(list(values.values()), axis=1) / weights.shape[1]
    return Resampled(dict(zip(values, means.T, strict=True)), {})


def score_rankings(rankings: dict[int, Ranking], classes: int, weights: np.ndarray) -> Resampled:
    """ROC AUC and average precision, as means over the classes that have rows; NaN for the others."""
    auc, precision = (np.full((len(weights), classes), np.nan) for _ in range(2))
    for number, ranking in rankings.items():
        auc[:, number], precision[:, number] = score_ranking(ranking, weights)
    return Resampled(
        {"roc_auc": average(auc), "average_precision": average(precision)}, {"average_precision": precision}
    )


def score_decisions(ranking: Ranking, weights: np.ndarray) -> Resampled:
    """Average precision of the decisions about all labels together."""
    return Resampled({"average_precision_micro": score_ranking(ranking, weights)[1]}, {})


def count_decisions(belongs: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> Resampled:
    """Precision, recall and F1 of several labels a text; both arrays are bool `(N, C)`."""
    return compute_count_metrics(
        *(weights @ chosen.astype(float) for chosen in (belongs & predicted, predicted, belongs))
    )


def compute_row_values(predictions: LabelledPredictions) -> dict[str, np.ndarray]:
    """The metrics that are means over rows: their values for each row, `(N,)`."""
    squares = np.square(predictions.probabilities - get_memberships(predictions))
    values = {"loss": predictions.losses}
    if isinstance(predictions, MultiLabelPredictions):
        labels, predicted = predictions.labels, predictions.predicted
        size = labels.sum(-1) + predicted.sum(-1)
        return values | {
            "accuracy": predictions.correct,
            "hamming_loss": (labels != predicted).mean(-1),
            "f1_samples": np.where(size == 0, 1, 2 * (labels & predicted).sum(-1) / np.maximum(size, 1)),
            "brier_score": squares.mean(-1),
        }
    classes = squares.shape[1]
    values["brier_score"] = squares.sum(-1) / (2 if classes == 2 else 1)  # half of two classes, by convention
    return values | ({"top_3_accuracy": is_among_top(predictions)} if has_top(classes) else {})
