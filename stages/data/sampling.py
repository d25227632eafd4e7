"""Stratified samples, drawn with a seed."""

import random

import numpy as np


def stratified_sample(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices, ascending, of `size` rows with the class shares of all rows; `labels` is `(N,)`.

    Shares are rounded by the largest remainder (Hamilton's method), and each class has at least one row where `size`
    allows. The splitters of scikit-learn raise an error when fewer rows than classes remain, which must work here.
    """
    rng = random.Random(seed)
    classes, counts = np.unique(labels, return_counts=True)
    rows_by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    seats = apportion(dict(zip(classes.tolist(), counts.tolist(), strict=True)), size)
    chosen = []
    for rows, count in zip(rows_by_class, seats.values(), strict=True):
        chosen.append(rows[rng.sample(range(len(rows)), count)])
    return np.sort(np.concatenate(chosen))


def apportion(counts: dict[int, int], size: int) -> dict[int, int]:
    """Distribute `size` seats over classes in proportion to their `counts`."""
    total = sum(counts.values())
    exact = {label: size * count / total for label, count in counts.items()}
    seats = {label: max(int(share), 1) if size >= len(counts) else int(share) for label, share in exact.items()}
    by_remainder = sorted(counts, key=lambda label: seats[label] - exact[label])
    while sum(seats.values()) < size:
        label = next(label for label in by_remainder if seats[label] < counts[label])
        seats[label] += 1
        by_remainder.sort(key=lambda label: seats[label] - exact[label])
    while sum(seats.values()) > size:  # small classes got a whole seat for a part of one: the largest classes give it
        seats[max(seats, key=seats.__getitem__)] -= 1
    return seats
