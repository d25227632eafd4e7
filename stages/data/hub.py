"""Data sets of the Hugging Face hub, through `datasets.load_dataset`."""

import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stages.core.csv_tables import ROWS_AT_ONCE
from stages.core.errors import UserError, to_one_line
from stages.core.param_sections import Data
from stages.data.row_files import list_columns
from stages.data.rows import Row

COMMIT = re.compile("[0-9a-f]{40}")

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def open_dataset(data: Data) -> "DatasetDict":
    """All splits of the data set `data.path`, memory-mapped; from the local cache when the hub cannot be reached.

    UserError when the hub lacks data set, revision or configuration, or cannot be reached and is not in the cache.
    """
    import datasets
    from huggingface_hub.errors import HFValidationError

    print(f"asking the Hugging Face hub for {data.path}")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each of its retries is a warning
    try:
        dataset = datasets.load_dataset(data.path, data.config, revision=data.revision)
    except (HFValidationError, datasets.exceptions.DatasetNotFoundError) as error:
        if str(error).startswith("Revision"):
            raise UserError(f"data.revision: the hub has no {data.path} at revision {data.revision}.") from None
        raise UserError(
            f"data.path: {data.path} is no data set that the hub shows to you; check the spelling, and log in with "
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
    """UserError when a pinned commit was asked for and the cache, used without the hub, holds another one."""
    files = [file["filename"] for rows in dataset.values() for file in rows.cache_files]
    if COMMIT.fullmatch(data.revision or "") and not all(data.revision in file for file in files):
        raise UserError(
            f"data.revision: the hub cannot be reached, and the local cache has {data.path} at another revision than "
            f"{data.revision}."
        )


def label_names(rows: "Dataset", data: Data) -> list[str] | None:
    """The names of the classes, in the data set's order; None where labels are plain values."""
    return getattr(rows.features.get(data.label_column), "names", None)


def read_rows(rows: "Dataset", data: Data, split: str) -> Iterator[Row]:
    """Yield the rows; a class becomes its name unless data.label_names renames its number, and -1 means no label."""
    names = label_names(rows, data)
    number = 0
    for key, column in list_columns(data):
        if column is not None and column not in rows.column_names:
            raise UserError(
                f"{key}: {data.path} has no column {column!r}; it has {to_one_line(', '.join(rows.column_names))}."
            )
    for batch in rows.with_format("arrow").iter(ROWS_AT_ONCE):
        columns = [batch.column(name).to_pylist() for _, name in list_columns(data) if name is not None]
        for text, label, *pair in zip(*columns, strict=True):
            number += 1
            yield Row(f"{split} row {number}", text, class_name(label, names, data), *pair)


def class_name(label: Any, names: list[str] | None, data: Data) -> Any:
    if names is None or not isinstance(label, int):
        return label
    if label < 0:
        return None
    return label if data.label_names else names[label]
