"""Choose the rows of a corpus for train, validation and test."""

import sys
from typing import NamedTuple

import numpy as np

from stages.core.data_section import Data
from stages.core.errors import UserError, list_names, to_one_line
from stages.data.corpus import SPLITS, UNSPLIT, Corpus
from stages.data.groups import MORE_GROUPS, carve_groups
from stages.data.sampling import stratified_sample

# What to do where groups cannot be split.
OTHER_SPLITS = "Give the source its own splits, or set data.group_column to null."


class Selection(NamedTuple):
    """Rows of a corpus: one of the splits of its source, and the numbers of the rows in it, ascending."""

    split: str
    rows: np.ndarray


def choose_rows(corpus: Corpus, data: Data, seed: int) -> dict[str, Selection]:
    """Draw samples, and carve the splits that the source does not have.

    Rows are drawn from train before validation is carved from it, so that `max_train_samples` limits all labelled rows
    that training can use in any way. UserError when a split has only one class, or fewer rows than there are classes.
    """
    chosen = {split: Selection(split, np.flatnonzero(labels >= 0)) for split, labels in corpus.labels.items()}
    check_classes(corpus, chosen, data)
    if UNSPLIT in chosen:
        rows = chosen.pop(UNSPLIT)
        chosen["train"], chosen["test"] = carve_split(corpus, rows, data.test_fraction, "data.test_fraction", seed)
    chosen["train"] = sample_rows(corpus, chosen["train"], data.max_train_samples, "data.max_train_samples", seed)
    chosen["test"] = sample_rows(corpus, chosen["test"], data.max_test_samples, "data.max_test_samples", seed)
    if "validation" not in chosen:
        chosen["train"], chosen["validation"] = carve_split(
            corpus, chosen["train"], data.validation_fraction, "data.validation_fraction", seed
        )
    in_order: dict[str, Selection] = {split: chosen[split] for split in SPLITS}
    check_classes(corpus, in_order, data)
    return in_order


def select_label_sets(corpus: Corpus, selection: Selection) -> np.ndarray:
    """The sets of labels of the selected rows, `(N,)`, as indices in `corpus.label_sets`."""
    return corpus.labels[selection.split][selection.rows]


def select_labels(corpus: Corpus, selection: Selection) -> np.ndarray:
    """The labels of the selected rows, as indices in `corpus.names`, `(N,)`, or multi-hot `(N, C)` if several."""
    rows = select_label_sets(corpus, selection)
    return corpus.label_sets.make_multi_hot(rows) if corpus.is_multi_label else rows


def count_labels(corpus: Corpus, selection: Selection) -> np.ndarray:
    """The number of selected rows with each label, `(C,)`."""
    return corpus.label_sets.count(select_label_sets(corpus, selection))


def sample_rows(corpus: Corpus, selection: Selection, limit: int | None, key: str, seed: int) -> Selection:
    """A stratified sample of at most `limit` rows; UserError, which names `key`, when it cannot have all labels."""
    split, rows = selection
    if limit is None or limit >= len(rows):
        return selection
    counts = count_labels(corpus, selection)
    classes = np.count_nonzero(counts)
    if limit < classes and not corpus.is_multi_label:
        raise UserError(f"{key}: found {limit}; the data has {classes} classes, so at least that many.")
    sample = Selection(split, rows[stratified_sample(select_labels(corpus, selection), limit, seed)])
    lost = list_lost(corpus, counts, count_labels(corpus, sample))
    if lost:
        raise UserError(
            f"{key}: found {limit}; so few rows have none of {len(lost)} of the {classes} labels ({list_names(lost)})."
        )
    return sample


def list_lost(corpus: Corpus, counts: np.ndarray, remaining: np.ndarray) -> list[str]:
    """The names of the labels that no row has any more, by alphabet; both are rows of each label, `(C,)`."""
    return sorted(corpus.names[label] for label in np.flatnonzero((counts > 0) & (remaining == 0)))


def carve_split(
    corpus: Corpus, selection: Selection, fraction: float, key: str, seed: int
) -> tuple[Selection, Selection]:
    """Split into the rest and a stratified sample of about `fraction`, or groups of about so many rows.

    UserError unless the rest has all labels, and the sample has all where each row has one.
    """
    split, rows = selection
    counts = count_labels(corpus, selection)
    draw = draw_groups if corpus.groups else draw_rows
    is_carved = draw(corpus, selection, fraction, seed)
    rest, carved = Selection(split, rows[~is_carved]), Selection(split, rows[is_carved])
    lost = list_lost(corpus, counts, count_labels(corpus, rest))
    classes = np.count_nonzero(counts)
    if lost and corpus.groups:
        raise UserError(
            f"{describe_groups(corpus)}; a split of whole groups ({key} {fraction}) would leave train no rows of "
            f"{len(lost):,} of the {classes:,} classes ({list_names(lost)}), because too few groups have them. "
            f"{OTHER_SPLITS}"
        )
    if lost:
        raise UserError(
            f"{key}: found {fraction}; of {len(rows):,} rows it would leave none of {len(lost):,} of the "
            f"{classes:,} classes ({list_names(lost)}). Lower it, give each class two rows or more, or check "
            f"data.label_column."
        )
    return rest, carved


def draw_rows(corpus: Corpus, selection: Selection, fraction: float, seed: int) -> np.ndarray:
    """Which rows a stratified sample of about `fraction` has, `(N,)`; all rows of a class that cannot be divided."""
    labels = select_labels(corpus, selection)
    size = round(len(labels) * fraction)
    is_drawn = np.zeros(len(labels), dtype=bool)
    if corpus.is_multi_label:  # all labels are in a sample of the rest: a label of one row is trained
        is_drawn[stratified_sample(labels, len(labels) - max(size, 1), seed)] = True
        return ~is_drawn
    counts = count_labels(corpus, selection)
    if counts[counts > 0].min() == 1:
        return counts[labels] == 1
    is_drawn[stratified_sample(labels, max(size, int(np.count_nonzero(counts))), seed)] = True
    return is_drawn


def draw_groups(corpus: Corpus, selection: Selection, fraction: float, seed: int) -> np.ndarray:
    """Which rows are in the groups of a sample of groups, `(N,)`; UserError when there are too few groups."""
    groups = corpus.groups[selection.split][selection.rows]
    rows = select_label_sets(corpus, selection)
    if len(np.unique(groups)) < 2:
        raise UserError(
            f"{describe_groups(corpus)}; {len(groups):,} rows are all of one group, so they cannot be split. "
            f"{OTHER_SPLITS}"
        )
    is_drawn = carve_groups(groups, rows, corpus.label_sets, fraction, seed)
    classes = np.count_nonzero(corpus.label_sets.count(rows))
    found = np.count_nonzero(corpus.label_sets.count(rows[is_drawn]))
    if not corpus.is_multi_label and (found < 2 or is_drawn.sum() < classes):
        raise UserError(
            f"{describe_groups(corpus)}; a split of whole groups with {fraction:g} of the rows, or with {MORE_GROUPS} "
            f"groups more, has not two classes, and as many rows as there are classes, {classes:,}. Raise the "
            f"fraction. {OTHER_SPLITS}"
        )
    return is_drawn


def describe_groups(corpus: Corpus) -> str:
    return f"data.group_column: found {corpus.data.group_column!r}"


def check_classes(corpus: Corpus, selections: dict[str, Selection], data: Data) -> None:
    """UserError when a split has no rows, only one class, or fewer rows than train has classes.

    Where rows may have several labels, only train must have two.
    """
    source = data.path or f"data.source {data.source}"
    what = "label" if corpus.is_multi_label else "class"
    classes = 0
    for split, selection in selections.items():  # train, or the rows without a split, is the first
        rows = len(selection.rows)
        found = np.flatnonzero(count_labels(corpus, selection))
        is_first, classes = not classes, classes or len(found)
        name = "the data" if split == UNSPLIT else f"split '{split}'"
        if not rows:
            dropped = sum(corpus.dropped.get(split, {}).values())
            raise UserError(f"{source}: {name} has no rows ({dropped:,} were dropped).")
        if len(found) < 2 and (is_first or not corpus.is_multi_label):
            only = f"one {what} ({to_one_line(corpus.names[found[0]])})" if len(found) else f"no {what}"
            raise UserError(f"{source}: {name} has {only} in {rows:,} rows; need two.")
        if rows < classes and not corpus.is_multi_label:
            raise UserError(f"{source}: {name} has {rows} rows, fewer than the {classes} classes of train.")


def find_missing_classes(corpus: Corpus, selections: dict[str, Selection]) -> dict[str, dict[str, int]]:
    """The classes that train has and another split lacks, by that split, each with its number of training rows."""
    in_train = count_labels(corpus, selections["train"])
    missing = {}
    for split, selection in selections.items():
        lost = list_lost(corpus, in_train, count_labels(corpus, selection))
        missing[split] = {name: int(in_train[corpus.names.index(name)]) for name in lost}
    return {split: classes for split, classes in missing.items() if classes}


def report_missing_classes(corpus: Corpus, selections: dict[str, Selection], data: Data) -> None:
    """Warn of classes that train has and another split lacks, or raise UserError, as `data.on_missing_class` says."""
    lines = [
        f"{split} has no rows of {len(rows):,} of the classes of train: "
        + list_names([f"{name} ({count:,} row{'s' * (count > 1)})" for name, count in rows.items()])
        for split, rows in find_missing_classes(corpus, selections).items()
    ]
    if lines and data.on_missing_class == "error":
        raise UserError(
            f"{data.path or data.source}: {'; '.join(lines)}. Add some, take these classes out of train, or set "
            "data.on_missing_class to warn."
        )
    for line in lines:
        print(f"warning: {line}; nothing will be known about results on them", file=sys.stderr)
