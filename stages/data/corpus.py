"""The rows of a source, by split, kept on disk while they are checked and chosen: memory does not grow with them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from stages.core.param_sections import Data
from stages.data.rows import Faults, Row, fault_of, hash_texts, label_text

SCHEMA = pa.schema([("text", pa.string()), ("text_pair", pa.string()), ("label", pa.string()), ("where", pa.string())])
SPLITS = ("train", "validation", "test")
WHOLE = "all"  # what a source without splits is called until it is split
ROWS_AT_ONCE = 10_000
CHARACTERS_AT_ONCE = 1 << 26
UNKNOWN = "label unknown to train"


class Corpus:
    """Takes rows in, refusing or dropping those that cannot be used, and gives back the ones that are wanted.

    `labels[split]` holds, for each row taken, its label's index in `names`, or -1 where train lacks the label, and
    `hashes[split]` what its text is recognized by: twelve bytes a row. `ignored` counts what else the source held;
    `dropped[split]` counts, by reason, the rows that `data.on_bad_rows: drop` left out.
    """

    def __init__(self, data: Data, folder: Path):
        self.data, self.folder = data, folder
        self.renamed = {label_text(value): name for value, name in (data.label_names or {}).items()}
        self.names = list(dict.fromkeys(self.renamed.values()))
        self.ordered = bool(self.names)  # by the source or the params; else by their text
        self.labels: dict[str, np.ndarray] = {}
        self.hashes: dict[str, np.ndarray] = {}
        self.ignored: Counter[str] = Counter()
        self.dropped: dict[str, Counter[str]] = {}
        self.faults = Faults()

    def add(self, split: str, rows: Iterable[Row], names: list[str] | None = None) -> None:
        """Read the rows of a split to disk; `names` are the labels as the source orders them."""
        if names and not self.ordered:
            self.names, self.ordered = list(names), True
        number = {name: index for index, name in enumerate(self.names)}
        found, hashes = [np.zeros(0, dtype=np.int32)], [hash_texts([])]
        self.dropped[split] = Counter()
        with pa.ipc.new_stream(self.path(split), SCHEMA) as writer:
            for batch in batches(self.usable(split, rows)):
                columns = list(zip(*batch, strict=True))
                found.append(np.array([number.setdefault(label, len(number)) for label in columns[2]], dtype=np.int32))
                hashes.append(hash_texts(zip(*columns[:2], strict=True)))
                writer.write_batch(
                    pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=SCHEMA)
                )
        self.names = list(number)
        self.labels[split], self.hashes[split] = np.concatenate(found), np.concatenate(hashes)

    def usable(self, split: str, rows: Iterable[Row]) -> Iterator[tuple[str, str | None, str, str]]:
        for row in tqdm(rows, desc=f"reading {split}", unit=" rows"):
            label = label_text(row.label)
            label = self.renamed.get(label) if self.renamed else label
            fault = fault_of(row, label, self.data)
            if fault is None:
                yield row.text, row.text_pair, label, row.location
            elif self.data.on_bad_rows == "drop":
                self.dropped[split][fault] += 1
            else:
                self.faults.add(fault, row.location)

    def check(self) -> None:
        """Refuse or drop the rows whose label train lacks, then raise UserError when any was refused."""
        if self.faults.counts and not len(self.labels.get("train", self.labels.get(WHOLE))):
            self.faults.refuse(self.data.path or self.data.source)
        known = np.unique(self.labels[WHOLE if WHOLE in self.labels else "train"])
        for split, labels in self.labels.items():
            unknown = ~np.isin(labels, known)
            if not unknown.any():
                continue
            if self.data.on_bad_rows == "drop":
                self.dropped[split][UNKNOWN] += int(unknown.sum())
                labels[unknown] = -1
            else:
                for batch in self.read(split, unknown):
                    for where, label in zip(batch["where"].to_pylist(), batch["label"].to_pylist(), strict=True):
                        self.faults.add(UNKNOWN, f"{where} ({label})")
        self.faults.refuse(self.data.path or self.data.source)

    def read(self, split: str, wanted: np.ndarray) -> Iterator[pa.RecordBatch]:
        """Yield the rows that a mask over the split's rows wants, in their order."""
        start = 0
        with pa.OSFile(self.path(split)) as file:  # not memory-mapped, so that what was read takes no memory
            for batch in pa.ipc.open_stream(file):
                yield batch.filter(pa.array(wanted[start : start + batch.num_rows]))
                start += batch.num_rows

    def path(self, split: str) -> str:
        return str(self.folder / f"{split}.arrow")


def batches(rows: Iterable[tuple]) -> Iterator[list[tuple]]:
    """Groups of rows, limited in number and, since Arrow's strings end at 2 GiB, in size."""
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += len(row[0]) + len(row[1] or "")
        if len(batch) == ROWS_AT_ONCE or size > CHARACTERS_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
