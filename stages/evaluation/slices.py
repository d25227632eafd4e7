"""The results on slices: the rows that have the same value in a column, such as a language or a source."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from stages.evaluation.intervals import bootstrap_ratio, bootstrap_shares
from stages.evaluation.predictions import LabelledPredictions, MultiLabelPredictions

# Of fewer rows, even a model with an accuracy of 0.9 has a 95 % interval of more than 0.2.
FEWEST_ROWS = 30
GROUPS_AT_ONCE = 1000  # whose resamples are in memory together: 16 MiB


class Slice(NamedTuple):
    """The rows with one value of a column; measures are (value, low end, high end)."""

    column: str
    value: str
    rows: int
    accuracy: tuple[float, ...]  # of several labels a text: of all labels together
    f1_micro: tuple[float, ...] | None  # of several labels a text

    @property
    def counts(self) -> bool:
        """Whether it has enough rows to be the worst slice."""
        return self.rows >= FEWEST_ROWS


def measure_slices(predictions: LabelledPredictions, slices: Mapping[str, Sequence[str]], seed: int) -> list[Slice]:
    """The slices of each column, the largest first; `slices` has the values of all N rows by column."""
    return [one for column, values in slices.items() for one in measure_column(predictions, column, values, seed)]


def measure_column(predictions: LabelledPredictions, column: str, values: Sequence[str], seed: int) -> list[Slice]:
    names, group, rows = np.unique(np.asarray(values, dtype=object), return_inverse=True, return_counts=True)
    correct = np.bincount(group, weights=predictions.correct, minlength=len(names))
    parts = range(0, len(names), GROUPS_AT_ONCE)
    ends = np.concatenate(
        [bootstrap_shares(correct[at : at + GROUPS_AT_ONCE], rows[at : at + GROUPS_AT_ONCE], seed) for at in parts],
        axis=1,
    )
    is_multi_label = isinstance(predictions, MultiLabelPredictions)
    rows_of = np.split(np.argsort(group, kind="stable"), np.cumsum(rows)[:-1])
    return [
        Slice(
            column=column,
            value=str(names[number]),
            rows=int(rows[number]),
            accuracy=(float(correct[number] / rows[number]), *ends[:, number].tolist()),
            f1_micro=measure_f1(predictions, rows_of[number], seed) if is_multi_label else None,
        )
        for number in np.argsort(-rows, kind="stable").tolist()
    ]


def measure_f1(predictions: LabelledPredictions, rows: np.ndarray, seed: int) -> tuple[float, ...]:
    """Micro F1 of some rows of several labels a text, with its interval; 0 where no label is actual or predicted."""
    labels, predicted = predictions.labels[rows], predictions.predicted[rows]
    found, size = 2 * (labels & predicted).sum(-1), labels.sum(-1) + predicted.sum(-1)
    return (float(found.sum() / max(size.sum(), 1)), *bootstrap_ratio(found, size, seed).tolist())


def find_worst_accuracy(slices: list[Slice]) -> dict[str, float]:
    """`accuracy_worst_slice`: the lowest accuracy of a slice that has `FEWEST_ROWS`; empty when there is none."""
    found = [one.accuracy[0] for one in slices if one.counts]
    return {"accuracy_worst_slice": min(found)} if found else {}
