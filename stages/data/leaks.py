"""Leaks: texts that are in two splits. They are found by content, counted, and handled as `data.on_leak` says."""

import numpy as np

from stages.core.errors import UserError, list_names, to_one_line
from stages.core.param_sections import Data
from stages.data.corpus import SPLITS, Corpus
from stages.data.splits import Selection, select_labels

SplitPair = tuple[str, str]
SPLIT_PAIRS: tuple[SplitPair, ...] = (("train", "validation"), ("train", "test"), ("validation", "test"))
EXAMPLES = 3  # texts that an error message locates for each pair of splits


def handle_leaks(
    corpus: Corpus, selections: dict[str, Selection], data: Data
) -> tuple[dict[str, Selection], dict[str, int]]:
    """Return the splits as `data.on_leak` wants them, and counts: different texts that two splits share, rows dropped.

    `drop_from_train` removes rows from train, and from validation where that was carved from train. Test, and a
    validation split of the source, never change. UserError for `error`, when splits share texts.
    """
    shared = {pair: find_shared_texts(corpus, selections, pair) for pair in SPLIT_PAIRS}
    if data.on_leak == "error":
        raise_for_leaks(corpus, selections, shared, data)
    kept = drop_from_train(corpus, selections) if data.on_leak == "drop_from_train" else selections
    warn_of_leaks(corpus, kept)
    leaks = {f"{one}_and_{other}": len(texts) for (one, other), texts in shared.items()}
    for split in ("train", "validation"):
        dropped = len(selections[split].rows) - len(kept[split].rows)
        leaks[f"dropped_from_{split}"] = dropped
        if dropped:
            print(f"dropped: text is in another split too ({dropped:,} rows of {split})")
    return kept, leaks


def select_hashes(corpus: Corpus, selection: Selection) -> np.ndarray:
    """The hashes of the texts of the selected rows, `(N,)`."""
    return corpus.hashes[selection.split][selection.rows]


def find_shared_texts(corpus: Corpus, selections: dict[str, Selection], pair: SplitPair) -> np.ndarray:
    """The hashes of the different texts that are in both splits."""
    one, other = pair
    return np.intersect1d(select_hashes(corpus, selections[one]), select_hashes(corpus, selections[other]))


def is_validation_carved(selections: dict[str, Selection]) -> bool:
    """Whether the rows of validation are from another split of the source, or from a source without splits."""
    return selections["validation"].split != "validation"


def drop_from_train(corpus: Corpus, selections: dict[str, Selection]) -> dict[str, Selection]:
    """The splits without the training rows whose text is in another; UserError when a class would lose all its rows."""
    train, validation, test = (selections[split] for split in SPLITS)
    kept = selections | {"train": exclude_texts(corpus, train, [validation, test])}
    if is_validation_carved(selections):
        kept["validation"] = exclude_texts(corpus, validation, [test])
    for split in SPLITS:
        classes = np.unique(select_labels(corpus, selections[split]))
        lost = np.setdiff1d(classes, select_labels(corpus, kept[split]))
        if len(lost):
            names = list_names(sorted(corpus.names[label] for label in lost))
            raise UserError(
                f"data.on_leak: found drop_from_train; it would leave no rows of {len(lost):,} of the {len(classes):,} "
                f"classes of {split} ({names}): all their texts are in other splits too. Correct the data, or choose "
                "warn."
            )
    return kept


def exclude_texts(corpus: Corpus, selection: Selection, others: list[Selection]) -> Selection:
    """The rows whose text is in none of the others."""
    texts = np.concatenate([select_hashes(corpus, other) for other in others])
    return Selection(selection.split, selection.rows[~np.isin(select_hashes(corpus, selection), texts)])


def warn_of_leaks(corpus: Corpus, selections: dict[str, Selection]) -> None:
    for one, other in SPLIT_PAIRS:
        count = len(find_shared_texts(corpus, selections, (one, other)))
        if not count:
            continue
        can_drop = one == "train" or is_validation_carved(selections)
        effect = f"drops them from {one}" if can_drop else "leaves both as they are"
        print(
            f"warning: {one} and {other} share {count:,} text{'s' * (count > 1)}; "
            f"data.on_leak: drop_from_train {effect}, error stops"
        )


def raise_for_leaks(
    corpus: Corpus, selections: dict[str, Selection], shared: dict[SplitPair, np.ndarray], data: Data
) -> None:
    """Raise UserError, with the locations of a few texts in the source, when splits share any."""
    lines = []
    for (one, other), texts in shared.items():
        if len(texts):
            first = locate_texts(corpus, selections[one], texts[:EXAMPLES])
            second = locate_texts(corpus, selections[other], texts[:EXAMPLES])
            examples = ", ".join(to_one_line(f"{a} = {b}") for a, b in zip(first, second, strict=True))
            lines.append(f"\n  {one} and {other} ({len(texts):,}): {examples}{', ...' * (len(texts) > EXAMPLES)}")
    if lines:
        raise UserError(
            f"{data.path or data.source}: splits share texts{''.join(lines)}\nCorrect the data, or set data.on_leak to "
            "drop_from_train (rows of train, and of a validation split carved from it, are left out) or to warn."
        )


def locate_texts(corpus: Corpus, selection: Selection, texts: np.ndarray) -> list[str]:
    """The location in the source of the first row with each of these texts, given by their hashes."""
    hashes = select_hashes(corpus, selection)
    chosen = [selection.rows[np.argmax(hashes == text)] for text in texts]
    mask = np.isin(np.arange(len(corpus.labels[selection.split])), chosen)
    found = [location for batch in corpus.read(selection.split, mask) for location in batch["location"].to_pylist()]
    locations = dict(zip(sorted(chosen), found, strict=True))
    return [locations[row] for row in chosen]
