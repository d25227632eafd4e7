"""Labels that are probably wrong, found by confident learning.

Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 2021. The
probabilities of a row must come from a model that was not trained on the row, so rows are divided into folds.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import NamedTuple

import numpy as np

from stages.core.errors import UserError


class LabelIssue(NamedTuple):
    """A row whose label is probably wrong. Labels are numbers, columns of the probabilities; a row may have several."""

    row: int
    given: tuple[int, ...]
    suggested: tuple[int, ...]  # the label with the highest probability, or the given ones with some added or removed
    given_probability: float  # where a row may have several labels: of the most doubtful one, that it is as it is given
    suggested_probability: float
    score: float  # quality of the label from 0 to 1; low is bad


def make_folds(labels: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold `(N,)`, from 0, of each row; `labels` are `(N,)` or, where a row may have several, `(N, C)` bool.

    `groups` is `(N,)`.

    Rows of one group, such as those with the same text, are in one fold, so that no model is asked about a text that
    it was trained on. Each fold has about the class shares of all rows. Raises UserError where a model would be
    trained without one of the classes, or where there are fewer groups than folds.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    # Rows with the same set of labels are a class of their own for the division.
    strata = labels if labels.ndim == 1 else np.unique(labels, axis=0, return_inverse=True)[1]
    distinct = len(np.unique(groups))
    if distinct < folds:
        raise UserError(
            f"{distinct:,} different rows cannot be divided into {folds} folds. Use at most {distinct} folds, or more "
            "rows."
        )
    fold_of_row = np.empty(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer rows than folds; what matters is checked below
        most = np.unique(strata, return_counts=True)[1].max()
        is_stratified = labels.ndim == 1 or most >= folds
        splitter = (StratifiedGroupKFold if is_stratified else GroupKFold)(folds, shuffle=True, random_state=seed)
        try:
            for fold, (_, held_out) in enumerate(splitter.split(strata, strata, groups)):
                fold_of_row[held_out] = fold
        except ValueError as error:  # every class has fewer rows than there are folds
            raise UserError(
                f"no class has {folds} rows, which {folds} folds need; the largest has {most}. Use fewer folds, or "
                "more rows."
            ) from error
    check_folds(labels, fold_of_row)
    return fold_of_row


def join_groups(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Groups `(N,)` in which rows are together that are in one group of either of two divisions, `(N,)` each.

    Also those which are connected by other rows: they are the components of a graph of groups, whose edges are rows.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = np.unique(one, return_inverse=True)[1], np.unique(other, return_inverse=True)[1]
    second = second + first.max() + 1
    size = int(second.max()) + 1
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(size, size))
    return connected_components(graph, directed=False)[1][first]


def check_folds(labels: np.ndarray, fold_of_row: np.ndarray) -> None:
    """Raise UserError where all rows of a class are in one fold, whose model would then not know the class."""
    has_label = labels if labels.ndim == 2 else labels[:, None] == np.arange(labels.max() + 1)
    for label, rows in enumerate(has_label.T):
        own = fold_of_row[rows]
        if len(own) and (own == own[0]).all():
            raise UserError(
                f"class {label} has {len(own):,} row(s), all in fold {own[0]}, so that the model for this fold would "
                "be trained without the class. Each class needs different rows in at least two folds: use more "
                "rows of this class, leave it out, or use another seed."
            )


def find_label_issues(labels: np.ndarray, probabilities: np.ndarray) -> list[LabelIssue]:
    """The rows whose labels `(N,)` are probably wrong by held-out probabilities `(N, C)`, worst first; may be empty.

    Where a row may have several labels, `(N, C)` bool, see `find_multi_label_issues`.

    Confident learning estimates how many labels are wrong: each class has a threshold, the mean probability of the
    rows that have it as label, and a row is confidently of another class above that one's. So many rows with the
    lowest `score_labels` are issues. On made data (2000 rows, 2 to 10 classes, 2 to 10 % wrong) this found up to
    30 % fewer rows than cleanlab's default, which prunes by noise rate, and nearly always a larger share of wrong
    ones: less to look at. Sorting costs O(N log N).
    """
    if labels.ndim == 2:
        return find_multi_label_issues(labels, probabilities)
    if len(np.unique(labels)) < 2:  # there is nothing that a label could be confused with
        return []
    from cleanlab.filter import find_label_issues as find_by_confident_learning

    with be_quiet():
        found = find_by_confident_learning(labels, probabilities, filter_by="low_normalized_margin", n_jobs=1)
    scores = score_labels(labels, probabilities)
    given = probabilities[np.arange(len(labels)), labels]
    suggested = probabilities.argmax(axis=1)
    highest = probabilities.max(axis=1)
    rows = np.flatnonzero(found & (highest > given))
    return [
        LabelIssue(
            row,
            (labels[row].item(),),
            (suggested[row].item(),),
            *(column[row].item() for column in (given, highest, scores)),
        )
        for row in rows[np.argsort(scores[rows], kind="stable")].tolist()
    ]


def find_multi_label_issues(labels: np.ndarray, probabilities: np.ndarray) -> list[LabelIssue]:
    """The rows with a label that is probably missing or too much; both arguments are `(N, C)`, worst first.

    Each label is judged by itself, as a task of two classes: Thyagarajan et al., Identifying Incorrect Annotations in
    Multi-Label Classification Data, 2022.
    """
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class

    lists = [np.flatnonzero(row).tolist() for row in labels]
    with be_quiet():
        wrong = find_multilabel_issues_per_class(lists, probabilities, filter_by="low_normalized_margin", n_jobs=1)
    as_given = np.where(labels, probabilities, 1 - probabilities)
    is_issue = np.asarray(wrong, dtype=bool) & (as_given < 0.5)
    doubtful = np.where(is_issue, as_given, 1).min(axis=1)
    scores = score_labels(labels, probabilities)
    rows = np.flatnonzero(is_issue.any(axis=1))
    return [
        LabelIssue(
            row,
            tuple(np.flatnonzero(labels[row]).tolist()),
            tuple(np.flatnonzero(labels[row] ^ is_issue[row]).tolist()),
            float(doubtful[row]),
            float(1 - doubtful[row]),
            float(scores[row]),
        )
        for row in rows[np.argsort(scores[rows], kind="stable")].tolist()
    ]


def score_labels(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The quality `(N,)` of labels `(N,)` by held-out probabilities `(N, C)`, from 0 (surely wrong) to 1.

    It is the normalized margin: the probability of the given class less the highest of the other ones, moved from
    -1..1 to 0..1. Below 0.5 the model prefers another class. Where a row may have several labels, `(N, C)` bool, it is
    that of its worst label.
    """
    if labels.ndim == 2:
        return np.where(labels, probabilities, 1 - probabilities).min(axis=1).astype(np.float64)
    from cleanlab.rank import get_label_quality_scores

    with be_quiet():
        scores = get_label_quality_scores(labels, probabilities, method="normalized_margin")
    return np.asarray(scores, dtype=np.float64)


def agrees(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Whether the prediction for each row is its label, or all of its labels, bool `(N,)`."""
    if labels.ndim == 2:
        return ((probabilities >= 0.5) == labels).all(axis=1)
    return probabilities.argmax(axis=1) == labels


@contextmanager
def be_quiet() -> Iterator[None]:
    """Hide what cleanlab prints and warns of, such as classes that never occur."""
    nothing = io.StringIO()
    with redirect_stdout(nothing), redirect_stderr(nothing), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
