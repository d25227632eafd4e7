"""95 % confidence intervals of measured numbers, by the percentile bootstrap over rows.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. The confusion table of rows that are drawn
with replacement follows a multinomial distribution. So tables are drawn instead of rows, and the cost does not grow
with the rows.
"""

from collections.abc import Iterator

import numpy as np

RESAMPLES = 2000
QUANTILES = (0.025, 0.975)
CELLS_AT_ONCE = 1 << 22  # of tables that are in memory together: 32 MiB


def bootstrap_metrics(confusion: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Low and high end of each metric of a confusion table `(C, C)`.

    `(2,)` of accuracy, precision_macro, recall_macro and f1_macro; `(2, C)` of precision, recall and f1 of each class.
    NaN for a class that is neither among the labels nor predicted.
    """
    parts = [compute_table_metrics(tables) for tables in resample_tables(confusion, np.random.default_rng(seed))]
    return {name: find_ends(np.concatenate([part[name] for part in parts])) for name in parts[0]}


def resample_tables(table: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield `RESAMPLES` confusion tables of rows drawn with replacement, in parts `(R, C, C)` that fit in memory."""
    filled = np.flatnonzero(table)
    shares = table.ravel()[filled] / table.sum()
    at_once = max(1, CELLS_AT_ONCE // table.size)
    for start in range(0, RESAMPLES, at_once):
        tables = np.zeros((min(at_once, RESAMPLES - start), table.size), dtype=np.int64)
        tables[:, filled] = generator.multinomial(table.sum(), shares, size=len(tables))
        yield tables.reshape(-1, *table.shape)


def compute_table_metrics(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics `(R,)`, and metrics by class `(R, C)`, of confusion tables `(R, actual, predicted)`.

    They equal scikit-learn's, which takes rows and one table at a time.
    """
    correct = np.diagonal(tables, axis1=1, axis2=2)
    actual = tables.sum(axis=2)
    predicted = tables.sum(axis=1)
    occurs = actual + predicted > 0
    by_class = {
        "precision": divide(correct, predicted, occurs),
        "recall": divide(correct, actual, occurs),
        "f1": divide(2 * correct, actual + predicted, occurs),
    }
    macro = {f"{name}_macro": np.nanmean(values, axis=1) for name, values in by_class.items()}
    return by_class | macro | {"accuracy": correct.sum(axis=1) / actual.sum(axis=1)}


def divide(part: np.ndarray, total: np.ndarray, occurs: np.ndarray) -> np.ndarray:
    """`part / total`, 0 where `total` is 0, NaN where the class does not occur at all."""
    return np.where(occurs, part / np.maximum(total, 1), np.nan)


def bootstrap_shares(correct: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Low and high ends `(2, G)` of the share of correct rows in each group; both counts are `(G,)`.

    Each group is resampled by itself.
    """
    drawn = np.random.default_rng(seed).binomial(rows, correct / rows, size=(RESAMPLES, len(rows)))
    return find_ends(drawn / rows)


def bootstrap_mean(values: np.ndarray, seed: int) -> np.ndarray:
    """Low and high end `(2,)` of the mean of values `(N,)`; it costs `RESAMPLES * N` draws."""
    generator = np.random.default_rng(seed)
    count = len(values)
    return find_ends(np.array([values[generator.integers(count, size=count)].mean() for _ in range(RESAMPLES)]))


def find_ends(drawn: np.ndarray) -> np.ndarray:
    """The ends of the middle 95 % of resamples `(R, ...)`, `(2, ...)`; NaN where every resample is NaN."""
    if drawn.ndim == 1:
        return np.quantile(drawn, QUANTILES)
    ends = np.full((2, drawn.shape[1]), np.nan)
    known = ~np.isnan(drawn).all(axis=0)
    ends[:, known] = np.nanquantile(drawn[:, known], QUANTILES, axis=0)
    return ends
