"""95 % confidence intervals of measured numbers, by the percentile bootstrap over rows.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. The confusion table of rows that are drawn
with replacement follows a multinomial distribution. So tables are drawn instead of rows where they decide a metric, and
the cost does not grow with the rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stages.evaluation.predictions import LabelledPredictions, MultiLabelPredictions
from stages.evaluation.resampled_metrics import Resampled, compute_table_metrics, join, merge
from stages.evaluation.row_resamples import count_resamples, resample_rows

RESAMPLES = 2000
QUANTILES = (0.025, 0.975)
ROUNDING = 1e-9  # sums in another order
CELLS_AT_ONCE = 1 << 22  # of tables that are in memory together: 32 MiB


@dataclass(frozen=True)
class Intervals:
    """Low and high ends of the metrics that have an interval."""

    overall: dict[str, list[float]]
    by_class: dict[str, np.ndarray]  # (2, C); NaN for a class that has none
    row_resamples: int  # of metrics that no confusion table decides; the others have `RESAMPLES`


def bootstrap_metrics(predictions: LabelledPredictions, seed: int) -> Intervals:
    """Intervals of a validation's metrics, and of precision, recall, F1 and average precision of each class.

    The lowest recall and the calibration error have none, because their bootstrap is biased. `leave_out_biased` does
    the same for others, where classes have few rows.
    """
    drawn = draw_metrics(predictions, np.random.default_rng(seed))
    ends = {name: find_ends(values) for name, values in drawn.overall.items()}
    return Intervals(
        overall={name: two.tolist() for name, two in ends.items() if not np.isnan(two).any()},
        by_class={name: find_ends(values) for name, values in drawn.by_class.items()},
        row_resamples=count_resamples(*predictions.logits.shape),
    )


def draw_metrics(predictions: LabelledPredictions, generator: np.random.Generator) -> Resampled:
    """The metrics of resampled rows, and of resampled confusion tables, which are more."""
    drawn = resample_rows(predictions, generator)
    if isinstance(predictions, MultiLabelPredictions):
        return drawn
    return merge([drawn, resample_confusion(predictions.confusion, predictions.is_ordinal, generator)])


def leave_out_biased(value: float, ends: Sequence[float] | np.ndarray) -> list[float]:
    """The ends of an interval that has the value in it, else NaN.

    Resamples lack some of the rows, and of a class with few rows often all of them. Averages over such classes are
    lower then, or, where it is about ranks, higher, and the interval can be beside the value.
    """
    low, high = float(ends[0]), float(ends[1])
    is_sound = low - ROUNDING <= value <= high + ROUNDING
    return [low, high] if is_sound else [np.nan, np.nan]


def resample_confusion(table: np.ndarray, is_ordinal: bool, generator: np.random.Generator) -> Resampled:
    """The metrics of resampled confusion tables; the table is `(C, C)`."""
    return join([compute_table_metrics(tables, is_ordinal) for tables in resample_tables(table, generator)])


def resample_tables(table: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield `RESAMPLES` confusion tables of rows drawn with replacement, in parts `(R, C, C)` that fit in memory."""
    filled = np.flatnonzero(table)
    shares = table.ravel()[filled] / table.sum()
    at_once = max(1, CELLS_AT_ONCE // table.size)
    for start in range(0, RESAMPLES, at_once):
        tables = np.zeros((min(at_once, RESAMPLES - start), table.size), dtype=np.int64)
        tables[:, filled] = generator.multinomial(table.sum(), shares, size=len(tables))
        yield tables.reshape(-1, *table.shape)


def bootstrap_shares(correct: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Low and high ends `(2, G)` of the share of correct rows in each group; both counts are `(G,)`.

    Each group is resampled by itself.
    """
    drawn = np.random.default_rng(seed).binomial(rows, correct / rows, size=(RESAMPLES, len(rows)))
    return find_ends(drawn / rows)


def bootstrap_ratio(parts: np.ndarray, totals: np.ndarray, seed: int) -> np.ndarray:
    """Low and high end `(2,)` of the sum of parts by the sum of totals, both whole numbers of the rows, `(N,)`.

    Rows with equal numbers are drawn together, so that the cost does not grow with the rows.
    """
    kinds, counts = np.unique(np.stack([parts, totals], axis=1), axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(parts), counts / len(parts), size=RESAMPLES)
    part, total = (drawn @ kinds).T
    return find_ends(part / np.maximum(total, 1))


def find_ends(drawn: np.ndarray) -> np.ndarray:
    """The ends of the middle 95 % of resamples `(R, ...)`, `(2, ...)`; NaN where every resample is NaN."""
    flat = drawn.reshape(len(drawn), -1)
    ends = np.full((2, flat.shape[1]), np.nan)
    unknown = np.isnan(flat)
    complete, known = ~unknown.any(axis=0), ~unknown.all(axis=0)
    ends[:, complete] = np.quantile(flat[:, complete], QUANTILES, axis=0)
    for column in np.flatnonzero(known & ~complete):  # NumPy's nanquantile is slow, and most columns have no NaN
        ends[:, column] = np.quantile(flat[~unknown[:, column], column], QUANTILES)
    return ends.reshape(2, *drawn.shape[1:])
