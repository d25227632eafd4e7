"""Leaks: texts, or groups, that are in two splits. They are found, counted, and handled as `data.on_leak` says."""

from typing import NamedTuple

import numpy as np

from stages.core.data_section import Data
from stages.core.errors import UserError, list_names, to_one_line
from stages.data.corpus import SPLITS, Corpus
from stages.data.splits import Selection, count_labels, list_lost

SplitPair = tuple[str, str]
SPLIT_PAIRS: tuple[SplitPair, ...] = (("train", "validation"), ("train", "test"), ("validation", "test"))
EXAMPLES = 3  # texts or groups that an error message locates for each pair of splits


class Kind(NamedTuple):
    """What two splits may share: texts or groups."""

    name: str
    hashes: dict[str, np.ndarray]  # of all rows of each split of the source, (N,)
    suffix: str  # of the keys of its counts


def handle_leaks(
    corpus: Corpus, selections: dict[str, Selection], data: Data
) -> tuple[dict[str, Selection], dict[str, int]]:
    """Return the splits as `data.on_leak` wants them, and counts: different texts that two splits share, rows dropped.

    Where there are groups, those that two splits share are counted too. `drop_from_train` removes rows from train, and
    from validation where that was carved from train. Test, and a validation split of the source, never change.
    UserError for `error`, when splits share texts or groups.
    """
    kinds = [Kind("text", corpus.hashes, "")]
    if corpus.groups:
        kinds.append(Kind("group", corpus.groups, "_groups"))
    kept = selections
    leaks: dict[str, int] = {}
    for kind in kinds:
        shared = find_shared(kind, selections)
        leaks |= {f"{one}_and_{other}{kind.suffix}": len(found) for (one, other), found in shared.items()}
        if data.on_leak == "error":
            raise_for_leaks(corpus, kind, selections, shared, data)
        if data.on_leak == "drop_from_train":
            kept = drop_from_train(corpus, kind, kept)
            shared = find_shared(kind, kept)
        warn_of_leaks(kind, kept, shared)
    for split in ("train", "validation"):
        leaks[f"dropped_from_{split}"] = len(selections[split].rows) - len(kept[split].rows)
    return kept, leaks


def select_hashes(kind: Kind, selection: Selection) -> np.ndarray:
    """The hashes of the texts or groups of the selected rows, `(N,)`."""
    return kind.hashes[selection.split][selection.rows]


def find_shared(kind: Kind, selections: dict[str, Selection]) -> dict[SplitPair, np.ndarray]:
    """The hashes of the different texts or groups that two splits share, ascending, for each two splits."""
    different = {split: sort_different(select_hashes(kind, selection)) for split, selection in selections.items()}
    return {
        (one, other): np.intersect1d(different[one], different[other], assume_unique=True) for one, other in SPLIT_PAIRS
    }


def sort_different(hashes: np.ndarray) -> np.ndarray:
    """The different hashes, ascending: what `np.unique` does, which in NumPy 2.4 takes 20 times as long as to sort."""
    hashes = np.sort(hashes)
    is_first = np.ones(len(hashes), dtype=bool)
    is_first[1:] = hashes[1:] != hashes[:-1]
    return hashes[is_first]


def is_validation_carved(selections: dict[str, Selection]) -> bool:
    """Whether the rows of validation are from another split of the source, or from a source without splits."""
    return selections["validation"].split != "validation"


def drop_from_train(corpus: Corpus, kind: Kind, selections: dict[str, Selection]) -> dict[str, Selection]:
    """The splits without the training rows of which another split has the text or group.

    UserError when a class would lose all its rows.
    """
    train, validation, test = (selections[split] for split in SPLITS)
    kept = selections | {"train": exclude(kind, train, [validation, test])}
    if is_validation_carved(selections):
        kept["validation"] = exclude(kind, validation, [test])
    for split in SPLITS:
        counts = count_labels(corpus, selections[split])
        lost = list_lost(corpus, counts, count_labels(corpus, kept[split]))
        if lost or not len(kept[split].rows):
            classes = f"{len(lost):,} of the {np.count_nonzero(counts):,} classes of {split} ({list_names(lost)})"
            raise UserError(
                f"data.on_leak: found drop_from_train; it would leave no rows of {classes if lost else split}: all "
                f"their {kind.name}s are in other splits too. Correct the data, or choose warn."
            )
        dropped = len(selections[split].rows) - len(kept[split].rows)
        if dropped:
            print(f"dropped: {kind.name} is in another split too ({dropped:,} rows of {split})")
    return kept


def exclude(kind: Kind, selection: Selection, others: list[Selection]) -> Selection:
    """The rows whose text or group is in none of the others."""
    found = np.concatenate([select_hashes(kind, other) for other in others])
    return Selection(selection.split, selection.rows[~np.isin(select_hashes(kind, selection), found)])


def warn_of_leaks(kind: Kind, selections: dict[str, Selection], shared: dict[SplitPair, np.ndarray]) -> None:
    for (one, other), found in shared.items():
        count = len(found)
        if not count:
            continue
        can_drop = one == "train" or is_validation_carved(selections)
        effect = f"drops them from {one}" if can_drop else "leaves both as they are"
        print(
            f"warning: {one} and {other} share {count:,} {kind.name}{'s' * (count > 1)}; "
            f"data.on_leak: drop_from_train {effect}, error stops"
        )


def raise_for_leaks(
    corpus: Corpus, kind: Kind, selections: dict[str, Selection], shared: dict[SplitPair, np.ndarray], data: Data
) -> None:
    """Raise UserError, with the locations of a few texts or groups in the source, when splits share any."""
    lines = []
    for (one, other), found in shared.items():
        if len(found):
            first = locate(corpus, kind, selections[one], found[:EXAMPLES])
            second = locate(corpus, kind, selections[other], found[:EXAMPLES])
            examples = ", ".join(to_one_line(f"{a} = {b}") for a, b in zip(first, second, strict=True))
            lines.append(f"\n  {one} and {other} ({len(found):,}): {examples}{', ...' * (len(found) > EXAMPLES)}")
    if lines:
        raise UserError(
            f"{data.path or data.source}: splits share {kind.name}s{''.join(lines)}\nCorrect the data, or set "
            "data.on_leak to drop_from_train (rows of train, and of a validation split carved from it, are left out) "
            "or to warn."
        )


def locate(corpus: Corpus, kind: Kind, selection: Selection, wanted: np.ndarray) -> list[str]:
    """The location in the source of the first row with each of these texts or groups, given by their hashes.

    With a group's name before it.
    """
    hashes = select_hashes(kind, selection)
    chosen = [selection.rows[np.argmax(hashes == value)] for value in wanted]
    mask = np.isin(np.arange(len(corpus.labels[selection.split])), chosen)
    found = [row for batch in corpus.read(selection.split, mask) for row in batch.to_pylist()]
    rows = dict(zip(sorted(chosen), found, strict=True))
    names = [f"{rows[row]['group']} in " if kind.name == "group" else "" for row in chosen]
    return [f"{name}{rows[row]['location']}" for name, row in zip(names, chosen, strict=True)]
