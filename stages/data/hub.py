"""Data sets of the Hugging Face hub, through `datasets.load_dataset`."""

import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stages.core.csv_tables import ROWS_AT_ONCE
from stages.core.data_section import Data
from stages.core.errors import UserError, to_one_line
from stages.data.rows import Row, list_columns, make_row

COMMIT = re.compile("[0-9a-f]{40}")

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def open_dataset(data: Data) -> "DatasetDict":
    """All splits of the data set `data.path`, memory-mapped; from the local cache when the hub cannot be reached.

    UserError when the hub has no such data set, revision or configuration, or when the hub cannot be reached and the
    data set is not in the cache.
    """
    import datasets
    from huggingface_hub.errors import HFValidationError

    print(f"loading {data.path} from the Hugging Face hub")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it warns of each retry
    try:
        dataset = datasets.load_dataset(data.path, data.config, revision=data.revision)
    except (HFValidationError, datasets.exceptions.DatasetNotFoundError) as error:
        if str(error).startswith("Revision"):
            raise UserError(f"data.revision: the hub has no {data.path} at revision {data.revision}.") from None
        raise UserError(
            f"data.path: the hub shows you no data set {data.path}; check the spelling, and log in with "
            "`hf auth login` if it is private or asks for consent."
        ) from None
    except ConnectionError as error:
        raise UserError(
            f"data.path: {data.path} is not in the local cache, and the hub cannot be reached: {error}"
        ) from None
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        key = "data.config" if "onfig" in reason else "data.path"
        raise UserError(f"{key}: {data.path} cannot be loaded from the hub: {reason}") from None
    check_revision(dataset, data)
    return dataset


def check_revision(dataset: "DatasetDict", data: Data) -> None:
    """UserError when params pin a commit, and the cache, which is used without the hub, holds another one."""
    files = [file["filename"] for rows in dataset.values() for file in rows.cache_files]
    if COMMIT.fullmatch(data.revision or "") and not all(data.revision in file for file in files):
        raise UserError(
            f"data.revision: the hub cannot be reached, and the local cache has {data.path} at another revision than "
            f"{data.revision}."
        )


def read_label_names(rows: "Dataset", data: Data) -> list[str] | None:
    """The names of the classes, in the data set's order; None where labels are plain values, or columns of 0 and 1."""
    if isinstance(data.label_column, list):
        return None
    feature = rows.features.get(data.label_column)
    return getattr(getattr(feature, "feature", feature), "names", None)  # the feature of a list is that of its items


def read_rows(rows: "Dataset", data: Data, split: str) -> Iterator[Row]:
    """Yield the rows of a split; UserError when it has no column of a name that params give."""
    names = read_label_names(rows, data)
    for key, column in list_columns(data):
        if column not in rows.column_names:
            raise UserError(
                f"{key}: {data.path} has no column {column!r}; it has {to_one_line(', '.join(rows.column_names))}."
            )
    number = 0
    for batch in rows.with_format("arrow").iter(ROWS_AT_ONCE):
        columns = [read_column(rows, batch, key, name) for key, name in list_columns(data)]
        for values in zip(*columns, strict=True):
            number += 1
            row = make_row(f"{split} row {number}", values, data)
            yield row._replace(label=convert_label(row.label, names, data))


def read_column(rows: "Dataset", batch: Any, key: str, name: str | int) -> list[Any]:
    """The values of a column; those of groups and slices by the names of their classes, if they are classes."""
    values, names = batch.column(name).to_pylist(), getattr(rows.features.get(name), "names", None)
    if names is None or key not in ("data.group_column", "data.slice_columns"):
        return values
    return [names[value] if isinstance(value, int) and value >= 0 else None for value in values]


def convert_label(label: Any, names: list[str] | None, data: Data) -> Any:
    """The name of a class, or its number where data.label_names gives the name; -1 means that there is no label."""
    if isinstance(label, list):
        return [convert_label(item, names, data) for item in label]
    if names is None or not isinstance(label, int):
        return label
    if label < 0:
        return None
    return label if data.label_names else names[label]
