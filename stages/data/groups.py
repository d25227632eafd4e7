"""Splits that keep the rows of a group together, such as those of an author."""

import numpy as np

from stages.data.labels import LabelSets

DRAWS = 50  # of which the one is taken whose shares are the closest to what is wanted
MORE_GROUPS = 5  # that are carved at most, beyond the wanted share, so that few groups with one label each have all


def carve_groups(groups: np.ndarray, rows: np.ndarray, label_sets: LabelSets, fraction: float, seed: int) -> np.ndarray:
    """Which rows are carved, bool `(N,)`: all rows of some groups, about `fraction` of the rows and of each label.

    `groups` and `rows` are `(N,)`: the group of each row, of at least two groups, and its set of labels. Of the draws
    of scikit-learn's `GroupShuffleSplit`, those are better that leave more labels to the rest, then those that carve
    more labels, then those of closer shares; the first of equal ones is taken. 50 draws of a million rows take
    seconds.
    """
    from sklearn.model_selection import GroupShuffleSplit  # half a second, which only sources with groups need

    counts = label_sets.count(rows)
    number = len(np.unique(groups))
    fewest = min(max(round(number * fraction), 1), number - 1)
    best, lowest = np.zeros(len(rows), dtype=bool), None
    for size in range(fewest, min(fewest + MORE_GROUPS, number - 1) + 1):
        for _, carved in GroupShuffleSplit(DRAWS, test_size=size, random_state=seed).split(rows, groups=groups):
            cost = measure_cost(counts, label_sets.count(rows[carved]), len(carved) / len(rows), fraction)
            if lowest is None or cost < lowest:
                lowest, best = cost, np.isin(np.arange(len(rows)), carved)
        if lowest is not None and lowest[:2] == (0, 0):  # both parts have all labels
            break
    return best


def measure_cost(counts: np.ndarray, carved: np.ndarray, share: float, fraction: float) -> tuple[int, int, float]:
    """Labels that the rest loses, labels that the carved part lacks, and how far shares are from `fraction`.

    `counts` and `carved` are `(C,)`: rows of each label, and those of them that are carved. `share` is that of all rows
    that are carved.
    """
    counts, carved = counts[counts > 0], carved[counts > 0]
    distance = abs(share - fraction) + np.abs(carved / counts - fraction).mean()
    return int((carved == counts).sum()), int((carved == 0).sum()), float(distance)
