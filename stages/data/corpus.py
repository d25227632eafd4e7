"""The rows of a source, by split, on disk while they are checked and chosen: memory does not grow with them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from stages.core.data_section import Data, Split
from stages.core.errors import UserError, list_names
from stages.core.problem_type import LABEL_SEPARATOR, NO_LABEL
from stages.data.labels import BadRow, LabelReader, LabelSets, format_value
from stages.data.rows import Row, RowErrors, UsableRow, hash_texts, hash_values, read_row

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
UNSPLIT = "all"  # the name for the rows of a source without splits
ROWS_PER_BATCH = 10_000  # of the Arrow files
CHARACTERS_PER_BATCH = 1 << 26  # a string array of Arrow holds at most 2 GiB, and a character takes up to four bytes
UNKNOWN_LABEL = "label unknown to train"


class Corpus:
    """Receives the rows of a source, without those that cannot be used, and returns those that are asked for.

    `labels[split]` holds for each row the index of its labels in `label_sets`, or -1 where train does not have one of
    them; `hashes[split]` holds the hash of its text, `groups[split]` that of its group, if there are groups. They take
    twelve or twenty bytes a row. `ignored` counts other contents of the source. `dropped[split]` counts, by reason, the
    rows that `data.on_bad_rows: drop` left out.
    """

    def __init__(self, data: Data, folder: Path):
        self.data = data
        self.folder = folder
        self.reader = LabelReader(data)
        self.label_sets = LabelSets(self.reader.order)
        self.is_ordered = bool(self.reader.order)  # by the params or the source
        self.slice_names = [f"slice_{column}" for column in data.slice_columns or []]
        self.schema = make_schema(data.group_column is not None, self.slice_names)
        self.labels: dict[str, np.ndarray] = {}
        self.hashes: dict[str, np.ndarray] = {}
        self.groups: dict[str, np.ndarray] = {}
        self.ignored: Counter[str] = Counter()
        self.dropped: dict[str, Counter[str]] = {}
        self.errors = RowErrors()

    @property
    def names(self) -> list[str]:
        """The names of the labels."""
        return self.label_sets.names

    @property
    def is_multi_label(self) -> bool:
        return bool(self.reader.is_multi_label)

    def add(self, split: str, rows: Iterable[Row], names: list[str] | None = None) -> None:
        """Write the rows of a split to disk; `names` are the labels in the order of the source."""
        if names and not self.is_ordered and not self.labels:  # the rows before have indices of other names
            self.label_sets = LabelSets(names)
            self.is_ordered = True
        labels = [np.zeros(0, dtype=np.int32)]
        hashes, groups = [hash_values([])], [hash_values([])]
        self.dropped[split] = Counter()
        with pa.ipc.new_stream(self.find_file(split), self.schema) as writer:
            for batch in group_rows(self.select_usable(split, rows)):
                labels.append(np.array([self.label_sets.find(row.labels) for row in batch], np.int32))
                hashes.append(hash_texts((row.text, row.text_pair) for row in batch))
                groups.append(hash_values(row.group for row in batch if row.group is not None))
                writer.write_batch(make_batch(batch, self.schema))
        self.labels[split] = np.concatenate(labels)
        self.hashes[split] = np.concatenate(hashes)
        if self.data.group_column is not None:
            self.groups[split] = np.concatenate(groups)

    def select_usable(self, split: str, rows: Iterable[Row]) -> Iterator[UsableRow]:
        """Yield the rows that can be used; count the others in `dropped` or `errors`."""
        for row in tqdm(rows, desc=f"reading {split}", unit=" rows"):
            try:
                usable = read_row(row, self.reader, self.data)
            except BadRow as error:
                if self.data.on_bad_rows == "drop":
                    self.dropped[split][str(error)] += 1
                else:
                    self.errors.add(str(error), row.location)
            else:
                yield usable

    def check(self) -> None:
        """Drop rows with a label that train does not have; UserError for rows that must not be dropped.

        UserError also when separator, columns or order of labels in the params do not fit to the labels.
        """
        source = self.data.path or self.data.source
        self.reader.check_separator(source)
        training_labels = self.labels[UNSPLIT if UNSPLIT in self.labels else "train"]
        if not len(training_labels):
            self.errors.raise_if_any(source)  # else every label of the other splits would be an error too
        is_known = self.label_sets.count(training_labels) > 0
        for split in self.labels:
            self.drop_unknown(split, is_known)
        self.errors.raise_if_any(source)
        known = [name for name, is_in_train in zip(self.names, is_known, strict=True) if is_in_train]
        self.check_names(known)
        self.check_columns(known)
        self.check_order(known)

    def drop_unknown(self, split: str, is_known: np.ndarray) -> None:
        """Drop the rows of a split with a label that is not known, or note them as errors; `is_known` is `(C,)`."""
        labels = self.labels[split]
        is_unknown = ~np.array([is_known[list(labels)].all() for labels in self.label_sets.sets], dtype=bool)[labels]
        if not is_unknown.any():
            return
        if self.data.on_bad_rows == "drop":
            self.dropped[split][UNKNOWN_LABEL] += int(is_unknown.sum())
            labels[is_unknown] = -1
            return
        locations = (location for batch in self.read(split, is_unknown) for location in batch["location"].to_pylist())
        for location, index in zip(locations, labels[is_unknown], strict=True):
            names = [self.names[label] for label in self.label_sets.sets[index] if not is_known[label]]
            self.errors.add(UNKNOWN_LABEL, f"{location} ({', '.join(names)})")

    def check_names(self, known: list[str]) -> None:
        """UserError for a label that results could not tell from no label, or from two, which they join."""
        if any(not name.strip() for name in known):
            raise UserError("data.label_names: a name is empty, which would mean no label; give each label a name.")
        if self.is_multi_label and NO_LABEL in known:
            raise UserError(f"data.label_names: give the label {NO_LABEL!r} another name; results call no label so.")
        joined = [name for name in known if LABEL_SEPARATOR in name] if self.is_multi_label else []
        if joined:
            raise UserError(
                f"data.label_names: the label{'s' * (len(joined) > 1)} {list_names(joined)} must have another name, "
                f"because {LABEL_SEPARATOR!r} is between the labels of a row in results."
            )

    def check_columns(self, known: list[str]) -> None:
        """UserError when a column of `data.label_column` is 1 in no row of train."""
        lacking = [name for name in self.names if name not in known] if self.reader.columns else []
        if lacking:
            raise UserError(
                f"data.label_column: no row of train has the label{'s' * (len(lacking) > 1)} {list_names(lacking)}, so "
                "nothing can be learnt about it. Leave it out."
            )

    def check_order(self, known: list[str]) -> None:
        """UserError unless `data.label_order` is null, or has the labels of train, of which a row has one."""
        order = [str(format_value(label)) for label in self.data.label_order or []]
        if order and self.is_multi_label:
            raise UserError(
                f"data.label_order: found {self.data.label_order}; labels are lists, which have no order, so null is "
                "allowed."
            )
        missing = [name for name in known if name not in order]
        unknown = [name for name in order if name not in known]
        if order and (missing or unknown):
            parts = [f"lacks {list_names(missing)}"] * bool(missing)
            parts += [f"has {list_names(unknown)}, which no row of train has"] * bool(unknown)
            raise UserError(
                f"data.label_order: {' and '.join(parts)}; it must hold all labels, which are {list_names(known)}."
            )

    def read(self, split: str, mask: np.ndarray) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a split for which the mask `(N,)` is true, in their order."""
        start = 0
        with pa.OSFile(self.find_file(split)) as file:  # not memory-mapped, so that batches are freed after use
            for batch in pa.ipc.open_stream(file):
                yield batch.filter(pa.array(mask[start : start + batch.num_rows]))
                start += batch.num_rows

    def find_file(self, split: str) -> str:
        return str(self.folder / f"{split}.arrow")


def make_schema(has_groups: bool, slice_names: list[str]) -> pa.Schema:
    """The columns of the files of rows: those of `data/raw` but the labels, and the location for messages."""
    names = ["text", "text_pair", "location", *["group"] * has_groups, *slice_names]
    return pa.schema([(name, pa.string()) for name in names])


def make_batch(rows: list[UsableRow], schema: pa.Schema) -> pa.RecordBatch:
    texts, second_texts, _, locations, groups, slices = zip(*rows, strict=True)
    columns = [texts, second_texts, locations, *[groups] * ("group" in schema.names), *zip(*slices, strict=True)]
    return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=schema)


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
