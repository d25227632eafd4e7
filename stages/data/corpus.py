"""The rows of a source, by split, on disk while they are checked and chosen: memory does not grow with them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from stages.core.param_sections import Data, Split
from stages.data.rows import Row, RowErrors, find_row_error, format_label, hash_texts

SCHEMA = pa.schema([(name, pa.string()) for name in ("text", "text_pair", "label", "location")])
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
UNSPLIT = "all"  # the name for the rows of a source without splits
ROWS_PER_BATCH = 10_000  # of the Arrow files
CHARACTERS_PER_BATCH = 1 << 26  # a string array of Arrow holds at most 2 GiB, and a character takes up to four bytes
UNKNOWN_LABEL = "label unknown to train"


class UsableRow(NamedTuple):
    """A row as the Arrow files hold it."""

    text: str
    text_pair: str | None
    label: str
    location: str


class Corpus:
    """Receives the rows of a source, without those that cannot be used, and returns those that are asked for.

    `labels[split]` holds for each row the index of its label in `names`, or -1 where train does not have the label;
    `hashes[split]` holds the hash of its text. Both together take twelve bytes a row. `ignored` counts other contents
    of the source. `dropped[split]` counts, by reason, the rows that `data.on_bad_rows: drop` left out.
    """

    def __init__(self, data: Data, folder: Path):
        self.data = data
        self.folder = folder
        self.new_names = {format_label(value): name for value, name in (data.label_names or {}).items()}
        self.names = list(dict.fromkeys(self.new_names.values()))
        self.is_ordered = bool(self.names)  # by the params or the source
        self.labels: dict[str, np.ndarray] = {}
        self.hashes: dict[str, np.ndarray] = {}
        self.ignored: Counter[str] = Counter()
        self.dropped: dict[str, Counter[str]] = {}
        self.errors = RowErrors()

    def add(self, split: str, rows: Iterable[Row], names: list[str] | None = None) -> None:
        """Write the rows of a split to disk; `names` are the labels in the order of the source."""
        if names and not self.is_ordered:
            self.names = list(names)
            self.is_ordered = True
        indices = {name: index for index, name in enumerate(self.names)}
        labels = [np.zeros(0, dtype=np.int32)]
        hashes = [hash_texts([])]
        self.dropped[split] = Counter()
        with pa.ipc.new_stream(self.find_file(split), SCHEMA) as writer:
            for batch in group_rows(self.select_usable(split, rows)):
                texts, second_texts, names_of_rows, locations = zip(*batch, strict=True)
                labels.append(np.array([indices.setdefault(name, len(indices)) for name in names_of_rows], np.int32))
                hashes.append(hash_texts(zip(texts, second_texts, strict=True)))
                columns = (texts, second_texts, names_of_rows, locations)
                arrays = [pa.array(column, pa.string()) for column in columns]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
        self.names = list(indices)
        self.labels[split] = np.concatenate(labels)
        self.hashes[split] = np.concatenate(hashes)

    def select_usable(self, split: str, rows: Iterable[Row]) -> Iterator[UsableRow]:
        """Yield the rows that can be used; count the others in `dropped` or `errors`."""
        for row in tqdm(rows, desc=f"reading {split}", unit=" rows"):
            label = format_label(row.label)
            if self.new_names:
                label = self.new_names.get(label)
            error = find_row_error(row, label, self.data)
            if error is None and label is not None:
                yield UsableRow(row.text, row.text_pair, label, row.location)
            elif self.data.on_bad_rows == "drop":
                self.dropped[split][str(error)] += 1
            else:
                self.errors.add(str(error), row.location)

    def check(self) -> None:
        """Drop rows whose label train does not have; UserError when any row cannot be used and must not be dropped."""
        source = self.data.path or self.data.source
        training_labels = self.labels[UNSPLIT if UNSPLIT in self.labels else "train"]
        if not len(training_labels):
            self.errors.raise_if_any(source)  # else every label of the other splits would be an error too
        known = np.unique(training_labels)
        for split, labels in self.labels.items():
            is_unknown = ~np.isin(labels, known)
            if not is_unknown.any():
                continue
            if self.data.on_bad_rows == "drop":
                self.dropped[split][UNKNOWN_LABEL] += int(is_unknown.sum())
                labels[is_unknown] = -1
            else:
                for batch in self.read(split, is_unknown):
                    for location, label in zip(batch["location"].to_pylist(), batch["label"].to_pylist(), strict=True):
                        self.errors.add(UNKNOWN_LABEL, f"{location} ({label})")
        self.errors.raise_if_any(source)

    def read(self, split: str, mask: np.ndarray) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a split for which the mask `(N,)` is true, in their order."""
        start = 0
        with pa.OSFile(self.find_file(split)) as file:  # not memory-mapped, so that batches are freed after use
            for batch in pa.ipc.open_stream(file):
                yield batch.filter(pa.array(mask[start : start + batch.num_rows]))
                start += batch.num_rows

    def find_file(self, split: str) -> str:
        return str(self.folder / f"{split}.arrow")


def group_rows(rows: Iterable[UsableRow]) -> Iterator[list[UsableRow]]:
    """Yield batches of at most ROWS_PER_BATCH rows and about CHARACTERS_PER_BATCH characters."""
    batch: list[UsableRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.text) + len(row.text_pair or "")
        if len(batch) == ROWS_PER_BATCH or size > CHARACTERS_PER_BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
