"""Which rows of a corpus become train, validation and test, and how they are written to `data/raw`.

`data/raw` holds a Parquet file a split (columns `text`, `label` and, for pairs, `text_pair`, all strings) and
`dataset.json`, the manifest.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.errors import UserError
from stages.core.files import sha256, write_json
from stages.core.param_sections import Data
from stages.data.corpus import SPLITS, WHOLE, Corpus
from stages.data.sampling import stratified_sample

Part = tuple[str, np.ndarray]  # a split of the corpus, and which of its rows: their numbers, ascending


def choose_rows(corpus: Corpus, data: Data, seed: int) -> dict[str, Part]:
    """Carve the splits that the source lacks, and sample.

    Rows are drawn from train before validation is carved from it, so `max_train_samples` limits the labelled rows
    that training may see in any way. UserError when a split has no two classes, or fewer rows than there are classes.
    """
    parts = {split: (split, np.flatnonzero(labels >= 0)) for split, labels in corpus.labels.items()}
    check_classes(corpus, parts, data)
    if WHOLE in parts:
        whole = parts.pop(WHOLE)
        parts["train"], parts["test"] = carve(corpus, whole, data.test_fraction, "data.test_fraction", seed)
    parts["train"] = sample(corpus, parts["train"], data.max_train_samples, "data.max_train_samples", seed)
    parts["test"] = sample(corpus, parts["test"], data.max_test_samples, "data.max_test_samples", seed)
    if "validation" not in parts:
        parts["train"], parts["validation"] = carve(
            corpus, parts["train"], data.validation_fraction, "data.validation_fraction", seed
        )
    parts = {split: parts[split] for split in SPLITS}
    check_classes(corpus, parts, data)
    return parts


def labels_of(corpus: Corpus, part: Part) -> np.ndarray:
    split, rows = part
    return corpus.labels[split][rows]


def sample(corpus: Corpus, part: Part, limit: int | None, key: str, seed: int) -> Part:
    """At most `limit` rows, stratified; UserError, naming the key, when that is less than one a class."""
    split, rows = part
    labels = labels_of(corpus, part)
    if limit is None or limit >= len(rows):
        return part
    if limit < len(np.unique(labels)):
        raise UserError(f"{key}: found {limit}; the data has {len(np.unique(labels))} classes, so at least that many.")
    return split, rows[stratified_sample(labels, limit, seed)]


def carve(corpus: Corpus, part: Part, fraction: float, key: str, seed: int) -> tuple[Part, Part]:
    """Split into (rest, stratified share of about `fraction`), each with all classes; UserError when that cannot be."""
    split, rows = part
    labels = labels_of(corpus, part)
    classes, counts = np.unique(labels, return_counts=True)
    taken = np.zeros(len(rows), dtype=bool)
    if counts.min() > 1:
        taken[stratified_sample(labels, max(round(len(rows) * fraction), len(classes)), seed)] = True
    left = np.unique(labels[~taken]) if counts.min() > 1 else classes[counts > 1]
    lost = sorted(corpus.names[label] for label in np.setdiff1d(classes, left))
    if lost:
        names = ", ".join(lost[:5]) + ", ..." * (len(lost) > 5)
        raise UserError(
            f"{key}: found {fraction}; of {len(rows):,} rows it would leave none of {len(lost):,} of the "
            f"{len(classes):,} classes ({names}). Lower it, give each class two rows or more, or check "
            f"data.label_column."
        )
    return (split, rows[~taken]), (split, rows[taken])


def check_classes(corpus: Corpus, parts: dict[str, Part], data: Data) -> None:
    where, classes = data.path or f"data.source {data.source}", 0
    for split, part in parts.items():  # train, or the whole, comes first
        labels = labels_of(corpus, part)
        found = np.unique(labels)
        classes = classes or len(found)
        name = "the data" if split == WHOLE else f"split '{split}'"
        dropped = sum(corpus.dropped.get(split, {}).values())
        if not len(found):
            raise UserError(f"{where}: {name} has no rows ({dropped:,} were dropped).")
        if len(found) == 1:
            only = corpus.names[found[0]]
            raise UserError(f"{where}: {name} has one class ({only}) in {len(labels):,} rows; need two.")
        if len(labels) < classes:
            raise UserError(f"{where}: {name} has {len(labels)} rows, fewer than the {classes} classes of train.")


def write_raw(corpus: Corpus, parts: dict[str, Part], leaks: dict[str, int], data: Data, folder: Path) -> None:
    """Write one Parquet file a split, then the manifest."""
    names = label_order(corpus, parts["train"])
    columns = ["text", *["text_pair"] * bool(data.text_pair_column), "label"]
    manifest: dict[str, Any] = {
        "source": data.model_dump(include={"source", "path", "config", "revision", "sha256"}),
        "columns": columns,
        "labels": names,
        "splits": {},
        "ignored": dict(sorted(corpus.ignored.items())),
        "dropped": {split: dict(sorted(counts.items())) for split, counts in corpus.dropped.items() if counts},
        "leaks": leaks,
    }
    for split, part in parts.items():
        path = folder / f"{split}.parquet"
        write_parquet(corpus, part, path, columns)
        counts = np.bincount(labels_of(corpus, part), minlength=len(corpus.names))
        manifest["splits"][split] = {
            "rows": len(part[1]),
            "classes": {name: int(counts[corpus.names.index(name)]) for name in names},
            "sha256": sha256(path),
        }
    write_json(folder / "dataset.json", manifest)


def label_order(corpus: Corpus, train: Part) -> list[str]:
    """The labels that occur: as the source or the params order them, else whole numbers by size, else by letters."""
    names = [corpus.names[label] for label in np.unique(labels_of(corpus, train))]
    if corpus.ordered:
        return names
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def write_parquet(corpus: Corpus, part: Part, path: Path, columns: list[str]) -> None:
    split, rows = part
    wanted = np.zeros(len(corpus.labels[split]), dtype=bool)
    wanted[rows] = True
    schema = pa.schema([(column, pa.string()) for column in columns])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in corpus.read(split, wanted):
            if batch.num_rows:
                writer.write_batch(batch.select(columns))
