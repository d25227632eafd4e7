"""Stratified draws that a seed decides."""

import random
from collections import defaultdict
from collections.abc import Sequence


def stratified_sample(labels: Sequence[str], size: int, seed: int) -> list[int]:
    """Indices, in ascending order, of `size` rows with the class shares of all rows.

    Shares are rounded by largest remainder (Hamilton's method), and every class keeps at least one row where `size`
    allows. scikit-learn's splitters refuse what this must do: a draw that leaves fewer rows than classes behind.
    """
    rng = random.Random(seed)
    rows = defaultdict(list)
    for index, label in enumerate(labels):
        rows[label].append(index)
    chosen: list[int] = []
    for label, count in allot({label: len(rows[label]) for label in sorted(rows)}, size).items():
        chosen += rng.sample(rows[label], count)
    return sorted(chosen)


def allot(counts: dict[str, int], size: int) -> dict[str, int]:
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
