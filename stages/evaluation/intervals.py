"""How sure measured numbers are: 95 % confidence intervals by the percentile bootstrap over rows.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. Rows drawn with replacement fill a confusion
table by a multinomial distribution, so the table is drawn and not the rows: the same numbers, however many rows.
"""

from collections.abc import Iterator

import numpy as np

RESAMPLES = 2000
QUANTILES = (0.025, 0.975)
CELLS_AT_ONCE = 1 << 22


def metric_intervals(labels: np.ndarray, predicted: np.ndarray, classes: int, seed: int) -> dict[str, np.ndarray]:
    """Low and high end, `(2,)`, of accuracy, precision_macro, ...; `(2, C)` of precision, recall and f1 by class.

    NaN for a class that is neither among the labels nor predicted.
    """
    table = np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
    parts = [table_metrics(tables) for tables in resampled_tables(table, np.random.default_rng(seed))]
    return {name: ends(np.concatenate([part[name] for part in parts])) for name in parts[0]}


def resampled_tables(table: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Confusion tables `(R, C, C)` of rows drawn with replacement, `RESAMPLES` of them in parts that fit in memory."""
    filled = np.flatnonzero(table)
    shares = table.ravel()[filled] / table.sum()
    at_once = max(1, CELLS_AT_ONCE // table.size)
    for start in range(0, RESAMPLES, at_once):
        tables = np.zeros((min(at_once, RESAMPLES - start), table.size), dtype=np.int64)
        tables[:, filled] = generator.multinomial(table.sum(), shares, size=len(tables))
        yield tables.reshape(-1, *table.shape)


def table_metrics(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics `(R,)` and metrics by class `(R, C)` of confusion tables `(R, actual, predicted)`, as scikit-learn's."""
    right, actual, predicted = np.diagonal(tables, axis1=1, axis2=2), tables.sum(2), tables.sum(1)
    occurs = actual + predicted > 0
    by_class = {
        "precision": share(right, predicted, occurs),
        "recall": share(right, actual, occurs),
        "f1": share(2 * right, actual + predicted, occurs),
    }
    macro = {f"{name}_macro": np.nanmean(values, axis=1) for name, values in by_class.items()}
    return by_class | macro | {"accuracy": right.sum(1) / actual.sum(1)}


def share(part: np.ndarray, whole: np.ndarray, occurs: np.ndarray) -> np.ndarray:
    """Part of the whole, 0 where that is nothing, NaN where the class does not occur at all."""
    return np.where(occurs, part / np.maximum(whole, 1), np.nan)


def share_intervals(right: np.ndarray, rows: np.ndarray, seed: int) -> np.ndarray:
    """Low and high ends `(2, G)` of the shares of right rows in groups `(G,)`, each group drawn by itself."""
    drawn = np.random.default_rng(seed).binomial(rows, right / rows, size=(RESAMPLES, len(rows)))
    return ends(drawn / rows)


def mean_interval(values: np.ndarray, seed: int) -> np.ndarray:
    """Low and high end `(2,)` of the mean of values `(N,)`."""
    generator, count = np.random.default_rng(seed), len(values)
    return ends(np.array([values[generator.integers(count, size=count)].mean() for _ in range(RESAMPLES)]))


def ends(drawn: np.ndarray) -> np.ndarray:
    """The ends of the middle 95 % of what was drawn, along the first axis; NaN where nothing could be drawn."""
    known = ~np.isnan(drawn).all(axis=0)
    if drawn.ndim == 1:
        return np.quantile(drawn, QUANTILES)
    found = np.full((2, drawn.shape[1]), np.nan)
    found[:, known] = np.nanquantile(drawn[:, known], QUANTILES, axis=0)
    return found
