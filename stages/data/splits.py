"""Choose the rows of a corpus for train, validation and test, and write them to `data/raw`.

`data/raw` holds a Parquet file for each split (columns `text`, `label` and, for pairs, `text_pair`, all strings) and
`dataset.json`, the manifest.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.errors import UserError, list_names, to_one_line
from stages.core.files import sha256, write_json
from stages.core.param_sections import Data
from stages.core.paths import MANIFEST
from stages.core.secrets import redact
from stages.data.corpus import SPLITS, UNSPLIT, Corpus
from stages.data.sampling import stratified_sample


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


def select_labels(corpus: Corpus, selection: Selection) -> np.ndarray:
    """The labels of the selected rows, `(N,)`, as indices in `corpus.names`."""
    return corpus.labels[selection.split][selection.rows]


def sample_rows(corpus: Corpus, selection: Selection, limit: int | None, key: str, seed: int) -> Selection:
    """A stratified sample of at most `limit` rows; UserError, which names `key`, when there are more classes."""
    labels = select_labels(corpus, selection)
    if limit is None or limit >= len(labels):
        return selection
    classes = len(np.unique(labels))
    if limit < classes:
        raise UserError(f"{key}: found {limit}; the data has {classes} classes, so at least that many.")
    return Selection(selection.split, selection.rows[stratified_sample(labels, limit, seed)])


def carve_split(
    corpus: Corpus, selection: Selection, fraction: float, key: str, seed: int
) -> tuple[Selection, Selection]:
    """Split into the rest and a stratified sample of about `fraction`; UserError unless both have all classes."""
    split, rows = selection
    labels = select_labels(corpus, selection)
    classes, counts = np.unique(labels, return_counts=True)
    is_carved = np.zeros(len(rows), dtype=bool)
    if counts.min() > 1:
        is_carved[stratified_sample(labels, max(round(len(rows) * fraction), len(classes)), seed)] = True
    remaining = np.unique(labels[~is_carved]) if counts.min() > 1 else classes[counts > 1]
    lost = sorted(corpus.names[label] for label in np.setdiff1d(classes, remaining))
    if lost:
        raise UserError(
            f"{key}: found {fraction}; of {len(rows):,} rows it would leave none of {len(lost):,} of the "
            f"{len(classes):,} classes ({list_names(lost)}). Lower it, give each class two rows or more, or check "
            f"data.label_column."
        )
    return Selection(split, rows[~is_carved]), Selection(split, rows[is_carved])


def check_classes(corpus: Corpus, selections: dict[str, Selection], data: Data) -> None:
    """UserError when a split has no rows, only one class, or fewer rows than train has classes."""
    source = data.path or f"data.source {data.source}"
    classes = 0
    for split, selection in selections.items():  # train, or the rows without a split, is the first
        labels = select_labels(corpus, selection)
        found = np.unique(labels)
        classes = classes or len(found)
        name = "the data" if split == UNSPLIT else f"split '{split}'"
        if not len(found):
            dropped = sum(corpus.dropped.get(split, {}).values())
            raise UserError(f"{source}: {name} has no rows ({dropped:,} were dropped).")
        if len(found) == 1:
            only = corpus.names[found[0]]
            raise UserError(f"{source}: {name} has one class ({to_one_line(only)}) in {len(labels):,} rows; need two.")
        if len(labels) < classes:
            raise UserError(f"{source}: {name} has {len(labels)} rows, fewer than the {classes} classes of train.")


def find_missing_classes(corpus: Corpus, selections: dict[str, Selection]) -> dict[str, dict[str, int]]:
    """The classes that train has and another split lacks, by that split, each with its number of training rows."""
    classes, counts = np.unique(select_labels(corpus, selections["train"]), return_counts=True)
    rows = {corpus.names[label]: int(count) for label, count in zip(classes, counts, strict=True)}
    found = {
        split: {corpus.names[label] for label in np.unique(select_labels(corpus, selection))}
        for split, selection in selections.items()
    }
    missing = {split: {name: rows[name] for name in sorted(rows) if name not in found[split]} for split in found}
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


def write_raw(
    corpus: Corpus, selections: dict[str, Selection], leaks: dict[str, int], data: Data, folder: Path
) -> None:
    """Write a Parquet file for each split, then the manifest."""
    names = order_labels(corpus, selections["train"])
    columns = ["text", "text_pair", "label"] if data.text_pair_column else ["text", "label"]
    source = data.model_dump(include={"source", "path", "config", "revision", "sha256"})
    manifest: dict[str, Any] = {
        "source": source | {"path": redact(data.path) if data.path else None},
        "columns": columns,
        "labels": names,
        "splits": {},
        "ignored": dict(sorted(corpus.ignored.items())),
        "dropped": {split: dict(sorted(counts.items())) for split, counts in corpus.dropped.items() if counts},
        "leaks": leaks,
        "missing_classes": find_missing_classes(corpus, selections),
    }
    for split, selection in selections.items():
        path = folder / f"{split}.parquet"
        write_parquet(corpus, selection, path, columns)
        counts = np.bincount(select_labels(corpus, selection), minlength=len(corpus.names))
        manifest["splits"][split] = {
            "rows": len(selection.rows),
            "classes": {name: int(counts[corpus.names.index(name)]) for name in names},
            "sha256": sha256(path),
        }
    write_json(folder / MANIFEST.name, manifest)


def order_labels(corpus: Corpus, train: Selection) -> list[str]:
    """The labels that occur, in the order of params or source; else whole numbers by size, or texts by alphabet."""
    names = [corpus.names[label] for label in np.unique(select_labels(corpus, train))]
    if corpus.is_ordered:
        return names
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def write_parquet(corpus: Corpus, selection: Selection, path: Path, columns: list[str]) -> None:
    mask = np.zeros(len(corpus.labels[selection.split]), dtype=bool)
    mask[selection.rows] = True
    schema = pa.schema([(column, pa.string()) for column in columns])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in corpus.read(selection.split, mask):
            if batch.num_rows:
                writer.write_batch(batch.select(columns))
