"""Stratified samples, drawn with a seed."""

import random

import numpy as np


def stratified_sample(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices, ascending, of `size` rows in which each label has about its share of all rows.

    `labels` is `(N,)` where each row has one label, and multi-hot `(N, C)` where it may have several, or none.
    """
    draw = sample_labels if labels.ndim == 2 else sample_classes
    return draw(labels, size, seed)


def sample_classes(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices of `size` rows with the class shares of all rows; `labels` is `(N,)`.

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


def sample_groups(groups: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices, ascending, of `size` rows of random groups; `groups` is `(N,)`. All but the last group are complete."""
    numbers = np.unique(groups, return_inverse=True)[1]
    place = np.random.RandomState(seed).permutation(numbers.max() + 1)  # the same for all versions of NumPy (NEP 19)
    return np.sort(np.argsort(place[numbers], kind="stable")[:size])


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


def sample_labels(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices of `size` rows with the label shares of all rows; `labels` is bool `(N, C)`.

    Iterative stratification (Sechidis, Tsoumakas & Vlahavas, 2011): the rarest label first, each of its rows goes to
    where the most of them lack. 100,000 rows of 30 labels take a second. That is off by some rows, and loses rare
    labels; so rows are moved until each label is among the chosen (if `size` is at least the number of labels), and
    each label of two rows or more among the others too, where that is possible.
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit  # imports scikit-learn, half a second

    if not 0 < size < len(labels):
        return np.arange(len(labels))[:size]
    labels = labels.astype(bool)
    splitter = MultilabelStratifiedShuffleSplit(1, test_size=size, random_state=seed)
    division = Division(labels, next(splitter.split(labels, labels))[1])
    order = np.random.RandomState(seed).permutation(len(labels))  # the same for all versions of NumPy (NEP 19)
    division.give_each_label(order)
    division.resize(size, order)
    return np.flatnonzero(division.is_chosen)


class Division:
    """Rows in two parts, the chosen ones and the others, between which rows are moved; `labels` is bool `(N, C)`."""

    def __init__(self, labels: np.ndarray, chosen: np.ndarray):
        self.labels = labels
        self.is_chosen = np.zeros(len(labels), dtype=bool)
        self.is_chosen[chosen] = True
        # How many rows have each label, (2, C): among the others, and among the chosen.
        self.counts = np.stack([labels[~self.is_chosen].sum(axis=0), labels[self.is_chosen].sum(axis=0)])

    def is_spare(self, row: int) -> bool:
        """Whether the part that a row is in has all its labels without it."""
        return bool((self.counts[int(self.is_chosen[row])][self.labels[row]] > 1).all())

    def move(self, row: int) -> None:
        part = int(self.is_chosen[row])
        self.counts[part] -= self.labels[row]
        self.counts[1 - part] += self.labels[row]
        self.is_chosen[row] = not part

    def give_each_label(self, order: np.ndarray) -> None:
        """Move rows, in this order, into a part that lacks a label: the chosen must have it, the others should."""
        rare_first = np.argsort(self.counts.sum(axis=0), kind="stable")
        for part in (1, 0):
            for label in rare_first:
                if self.counts[part, label]:
                    continue
                rows = order[self.labels[order, label]]  # all of them are in the other part
                spare = next((row for row in rows if self.is_spare(row)), None)
                if spare is not None:
                    self.move(spare)
                elif part == 1 and len(rows):
                    self.move(rows[0])

    def resize(self, size: int, order: np.ndarray) -> None:
        """Move rows, in this order, until `size` are chosen: at first those that are spare, then any."""
        excess = int(self.is_chosen.sum()) - size
        for may_lose_labels in (False, True):
            for row in order:
                if not excess:
                    return
                if self.is_chosen[row] == (excess > 0) and (may_lose_labels or self.is_spare(row)):
                    self.move(row)
                    excess += 1 if self.is_chosen[row] else -1
