"""Stratified draws that a seed decides."""

import random

import numpy as np


def stratified_sample(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices, ascending, of `size` rows with the class shares of all rows `labels`, `(N,)`.

    Shares are rounded by largest remainder (Hamilton's method), and every class keeps at least one row where `size`
    allows. scikit-learn's splitters refuse what this must do: a draw that leaves fewer rows than classes behind.
    """
    rng, chosen = random.Random(seed), []
    classes, counts = np.unique(labels, return_counts=True)
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    places = allot(dict(zip(classes.tolist(), counts.tolist(), strict=True)), size)
    for rows, count in zip(by_class, places.values(), strict=True):
        chosen.append(rows[rng.sample(range(len(rows)), count)])
    return np.sort(np.concatenate(chosen))


def allot(counts: dict, size: int) -> dict:
    """Share out `size` places in proportion to `counts`."""
    total = sum(counts.values())
    exact = {label: size * count / total for label, count in counts.items()}
    places = {label: max(int(share), 1) if size >= len(counts) else int(share) for label, share in exact.items()}
    by_remainder = sorted(counts, key=lambda label: places[label] - exact[label])
    while sum(places.values()) < size:
        label = next(label for label in by_remainder if places[label] < counts[label])
        places[label] += 1
        by_remainder.sort(key=lambda label: places[label] - exact[label])
    while sum(places.values()) > size:  # ones given to small classes are taken from the largest
        places[max(places, key=places.__getitem__)] -= 1
    return places
