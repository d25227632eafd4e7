"""Texts that are in two splits: found by content, counted, and handled as `data.on_leak` says."""

import numpy as np

from stages.core.errors import UserError
from stages.core.param_sections import Data
from stages.data.corpus import SPLITS, Corpus
from stages.data.splits import Part, labels_of

Pair = tuple[str, str]
PAIRS: tuple[Pair, ...] = (("train", "validation"), ("train", "test"), ("validation", "test"))
EXAMPLES = 3  # places that an error message names for each pair of splits


def handle_leaks(corpus: Corpus, parts: dict[str, Part], data: Data) -> tuple[dict[str, Part], dict[str, int]]:
    """Return the splits as `data.on_leak` wants them, and counts: different texts that two share, rows dropped.

    `drop_from_train` takes rows out of train, and out of validation where that was carved from train; test, and a
    validation split that the source gives, stay as they are. UserError with `error`, when splits share texts.
    """
    shared = {pair: shared_texts(corpus, parts, pair) for pair in PAIRS}
    if data.on_leak == "error":
        refuse_leaks(corpus, parts, shared, data)
    kept = drop_from_train(corpus, parts) if data.on_leak == "drop_from_train" else parts
    warn_of_leaks(corpus, kept)
    leaks = {f"{one}_and_{other}": len(texts) for (one, other), texts in shared.items()}
    for split in ("train", "validation"):
        dropped = leaks[f"dropped_from_{split}"] = len(parts[split][1]) - len(kept[split][1])
        if dropped:
            print(f"dropped: text is in another split too ({dropped:,} rows of {split})")
    return kept, leaks


def hashes_of(corpus: Corpus, part: Part) -> np.ndarray:
    split, rows = part
    return corpus.hashes[split][rows]


def shared_texts(corpus: Corpus, parts: dict[str, Part], pair: Pair) -> np.ndarray:
    """The hashes of the different texts that are in both splits."""
    one, other = pair
    return np.intersect1d(hashes_of(corpus, parts[one]), hashes_of(corpus, parts[other]))


def is_carved(parts: dict[str, Part]) -> bool:
    """Whether validation holds rows of the source's train, or whole; else the source gives it."""
    return parts["validation"][0] != "validation"


def drop_from_train(corpus: Corpus, parts: dict[str, Part]) -> dict[str, Part]:
    """The splits without the training rows whose text is in another; UserError when that leaves none of a class."""
    kept = parts | {"train": without(corpus, parts["train"], parts["validation"], parts["test"])}
    if is_carved(parts):
        kept["validation"] = without(corpus, parts["validation"], parts["test"])
    for split in SPLITS:
        classes = np.unique(labels_of(corpus, parts[split]))
        lost = np.setdiff1d(classes, labels_of(corpus, kept[split]))
        if len(lost):
            names = ", ".join(sorted(corpus.names[label] for label in lost)[:5]) + ", ..." * (len(lost) > 5)
            raise UserError(
                f"data.on_leak: found drop_from_train; it would leave no rows of {len(lost):,} of the {len(classes):,} "
                f"classes of {split} ({names}): all their texts are in other splits too. Mend the data, or choose warn."
            )
    return kept


def without(corpus: Corpus, part: Part, *others: Part) -> Part:
    """The rows of a split whose text is in none of the others."""
    split, rows = part
    texts = np.concatenate([hashes_of(corpus, other) for other in others])
    return split, rows[~np.isin(hashes_of(corpus, part), texts)]


def warn_of_leaks(corpus: Corpus, parts: dict[str, Part]) -> None:
    for one, other in PAIRS:
        count = len(shared_texts(corpus, parts, (one, other)))
        if count:
            changes = f"drops them from {one}" if one == "train" or is_carved(parts) else "leaves both as they are"
            print(
                f"warning: {one} and {other} share {count:,} text{'s' * (count > 1)}; "
                f"data.on_leak: drop_from_train {changes}, error stops"
            )


def refuse_leaks(corpus: Corpus, parts: dict[str, Part], shared: dict[Pair, np.ndarray], data: Data) -> None:
    """Raise UserError, with the places of a few texts in the source, when splits share any."""
    lines = []
    for (one, other), texts in shared.items():
        if len(texts):
            places = zip(*(places_of(corpus, parts[split], texts[:EXAMPLES]) for split in (one, other)), strict=True)
            examples = ", ".join(" = ".join(pair) for pair in places) + ", ..." * (len(texts) > EXAMPLES)
            lines.append(f"\n  {one} and {other} ({len(texts):,}): {examples}")
    if lines:
        raise UserError(
            f"{data.path or data.source}: splits share texts{''.join(lines)}\nMend the data, or set data.on_leak to "
            "drop_from_train (rows of train, and of a validation split carved from it, are left out) or to warn."
        )


def places_of(corpus: Corpus, part: Part, texts: np.ndarray) -> list[str]:
    """Where in the source the first row with each of these texts is."""
    split, rows = part
    chosen = [rows[np.argmax(hashes_of(corpus, part) == text)] for text in texts]
    wanted = np.isin(np.arange(len(corpus.labels[split])), chosen)
    found = [where for batch in corpus.read(split, wanted) for where in batch["where"].to_pylist()]
    places = dict(zip(sorted(chosen), found, strict=True))
    return [places[row] for row in chosen]
