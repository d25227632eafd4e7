"""The files of `data/raw`: a Parquet file for each split, and `dataset.json`, the manifest.

Columns: `text`, `text_pair` for pairs, `label`, `group` if there are groups, and `slice_<column>` for each of
`data.slice_columns`. All are strings, but `label` is a list of strings, in the manifest's order, where a row may have
several labels.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.data_section import Data
from stages.core.files import sha256, write_json
from stages.core.paths import MANIFEST
from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.core.secrets import redact
from stages.data.corpus import Corpus
from stages.data.labels import format_value
from stages.data.splits import Selection, count_labels, find_missing_classes, select_label_sets


def write_raw(
    corpus: Corpus, selections: dict[str, Selection], leaks: dict[str, int], data: Data, folder: Path
) -> None:
    """Write a Parquet file for each split, then the manifest."""
    names = order_labels(corpus, selections["train"], data)
    columns = ["text", "text_pair", "label"] if data.text_pair_column is not None else ["text", "label"]
    source = data.model_dump(include={"source", "path", "config", "revision", "sha256"})
    manifest: dict[str, Any] = {
        "source": source | {"path": redact(data.path) if data.path else None},
        "columns": columns,
        "problem_type": MULTI_LABEL if corpus.is_multi_label else SINGLE_LABEL,
        "labels": names,
        "is_ordinal": data.label_order is not None,
        "has_groups": data.group_column is not None,
        "slice_columns": [str(column) for column in data.slice_columns or []],
        "splits": {},
        "ignored": dict(sorted(corpus.ignored.items())),
        "dropped": {split: dict(sorted(counts.items())) for split, counts in corpus.dropped.items() if counts},
        "leaks": leaks,
        "missing_classes": find_missing_classes(corpus, selections),
    }
    schema = make_raw_schema(corpus, columns)
    for split, selection in selections.items():
        path = folder / f"{split}.parquet"
        write_parquet(corpus, selection, path, schema, names)
        counts = count_labels(corpus, selection)
        manifest["splits"][split] = {
            "rows": len(selection.rows),
            "classes": {name: int(counts[corpus.names.index(name)]) for name in names},
            "sha256": sha256(path),
        }
    write_json(folder / MANIFEST.name, manifest)


def order_labels(corpus: Corpus, train: Selection, data: Data) -> list[str]:
    """The labels that occur, in the order of params or source; else whole numbers by size, or texts by alphabet."""
    if data.label_order:
        return [str(format_value(label)) for label in data.label_order]
    names = [corpus.names[label] for label in np.flatnonzero(count_labels(corpus, train))]
    if corpus.is_ordered:
        return names
    try:
        return sorted(names, key=int)
    except ValueError:
        return sorted(names)


def make_raw_schema(corpus: Corpus, columns: list[str]) -> pa.Schema:
    label = pa.list_(pa.string()) if corpus.is_multi_label else pa.string()
    others = ["group"] * bool(corpus.groups) + corpus.slice_names
    return pa.schema([(name, label if name == "label" else pa.string()) for name in columns + others])


def write_parquet(corpus: Corpus, selection: Selection, path: Path, schema: pa.Schema, names: list[str]) -> None:
    """Write the selected rows; `names` are the labels in the manifest's order."""
    mask = np.zeros(len(corpus.labels[selection.split]), dtype=bool)
    mask[selection.rows] = True
    label_sets = select_label_sets(corpus, selection)
    labels = name_label_sets(corpus, names)
    start = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in corpus.read(selection.split, mask):
            if not batch.num_rows:
                continue
            of_rows = [labels[index] for index in label_sets[start : start + batch.num_rows]]
            start += batch.num_rows
            arrays = [pa.array(of_rows, field.type) if field.name == "label" else batch[field.name] for field in schema]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def name_label_sets(corpus: Corpus, names: list[str]) -> list[Any]:
    """The column `label` for each set of labels: its name, or its names in the order of `names`."""
    if not corpus.is_multi_label:
        return corpus.names
    position = {name: index for index, name in enumerate(names)}
    of_sets = [[corpus.names[label] for label in labels] for labels in corpus.label_sets.sets]
    # Labels that only dropped rows have are in no order.
    return [sorted(labels, key=lambda name: position.get(name, len(names))) for labels in of_sets]
