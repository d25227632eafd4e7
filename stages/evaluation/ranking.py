"""ROC AUC and average precision of many resamples of the same rows, for which scores are sorted once."""

from typing import NamedTuple

import numpy as np

from stages.evaluation.resampled_metrics import divide


class Ranking(NamedTuple):
    """N scores from the highest to the lowest; those of G groups, each of equal scores, count, that have members."""

    rows: np.ndarray  # of each score, (N,)
    starts: np.ndarray  # first position of each group, (G,)
    ends: np.ndarray  # position after each group, (G,)
    members: np.ndarray  # rows of the members, (M,), in the same order
    first_members: np.ndarray  # position in `members` of the first one of each group, (G,)


def rank_scores(scores: np.ndarray, is_member: np.ndarray, columns: int = 1) -> Ranking:
    """Sort scores `(N * columns,)`, of which each row has so many; members have the class that the scores are of."""
    order = np.argsort(-scores, kind="stable")
    bounds = np.flatnonzero(np.diff(scores[order])) + 1
    starts, ends = np.concatenate([[0], bounds]), np.append(bounds, len(scores))
    positions = np.flatnonzero(is_member[order])
    groups, first_members = np.unique(np.searchsorted(bounds, positions, side="right"), return_index=True)
    rows = order // columns
    return Ranking(rows, starts[groups], ends[groups], rows[positions], first_members)


def score_ranking(ranking: Ranking, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ROC AUC and average precision, both `(R,)`, with weights of rows `(R, N)`; NaN where one is not defined.

    It costs `R * N` steps: scores are sorted once for all resamples.
    """
    total = np.zeros((len(weights), len(ranking.rows) + 1))
    np.cumsum(weights[:, ranking.rows], axis=1, out=total[:, 1:])
    above, through = total[:, ranking.starts], total[:, ranking.ends]
    found = np.add.reduceat(weights[:, ranking.members], ranking.first_members, axis=1)
    found_through = np.cumsum(found, axis=1)
    members = found_through[:, -1]
    others = total[:, -1] - members
    precision_sum = np.einsum("rg,rg->r", found, found_through / np.maximum(through, 1))
    # Of the others, those above a member count, and half of those with an equal score.
    others_above = (above + through - 2 * found_through + found) / 2
    pairs = members * others - np.einsum("rg,rg->r", found, others_above)
    return divide(pairs, members * others, members * others > 0), divide(precision_sum, members, members > 0)
