"""The Arrow data set of tokens that a tokenizer makes of `data/raw`."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from tqdm import tqdm

from stages.core.csv_tables import ROWS_AT_ONCE
from stages.core.errors import UserError
from stages.core.files import read_json, sha256, write_json
from stages.core.param_sections import Preprocess
from stages.text.cleaning import clean
from stages.text.statistics import SplitStatistics
from stages.text.tokenizer import decodes_to_text, enable_truncation, has_windows
from stages.text.windows import count_document_tokens, flatten_windows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS_READ_BACK = 50  # of a split: decoded, to see that the tokens say what the text says


def encode_split(
    raw: Path,
    folder: Path,
    labels: list[str],
    tokenizer: "PreTrainedTokenizerBase",
    preprocess: Preprocess,
    types: bool,
) -> SplitStatistics:
    """Clean and tokenize one Parquet file of `data/raw` into a `datasets` folder; return what was counted.

    Columns: `input_ids` (special tokens included, at most `max_length`, no padding), `length` (of `input_ids`),
    `labels` (index into the label names) and, with `types` and for pairs, `token_type_ids` (0 in the first text, 1 in
    the second). Row i is row i of the Parquet file; with `stride` a row is one of its windows, and `document` holds i.
    Threads tokenize (`RAYON_NUM_THREADS`, by default one a core); the bytes depend on data and params alone.
    """
    columns = {"input_ids": List(Value("int32")), "length": Value("int32"), "labels": ClassLabel(names=labels)}
    types, windows = types and "text_pair" in pq.read_schema(raw).names, has_windows(tokenizer)
    columns |= {"token_type_ids": List(Value("int8"))} if types else {}
    columns |= {"document": Value("int32")} if windows else {}
    features = Features(columns)
    backend, schema, tally = tokenizer.backend_tokenizer, features.arrow_schema, SplitStatistics()
    number = {label: index for index, label in enumerate(labels)}
    arrow = start_split(folder, features)
    with pq.ParquetFile(raw) as file, pa.ipc.new_stream(arrow, schema) as writer:
        read_back = set(np.linspace(0, file.metadata.num_rows - 1, ROWS_READ_BACK, dtype=int).tolist())
        enable_truncation(tokenizer)
        with tqdm(total=file.metadata.num_rows, desc=f"tokenizing {raw.stem}", unit=" rows") as bar:
            for names, texts, encodings in encode_ahead(file, preprocess, backend.encode_batch_fast):
                parts, origins = flatten_windows(encodings) if windows else (encodings, range(len(encodings)))
                ids = [part.ids for part in parts]
                lengths = np.array([len(row) for row in ids], dtype=np.int32)
                values: dict[str, Any] = {
                    "input_ids": ids,
                    "length": lengths,
                    "labels": [number[names[i]] for i in origins],
                }
                if types:
                    values["token_type_ids"] = [part.type_ids for part in parts]
                if windows:
                    values["document"] = [tally.rows + i for i in origins]
                writer.write_batch(pa.RecordBatch.from_pydict(values, schema))
                for i in sorted(read_back & set(range(tally.rows, tally.rows + len(texts)))):
                    tally.read_back.append(decodes_to_text(tokenizer, encodings[i - tally.rows], texts[i - tally.rows]))
                if windows:
                    tally.windows = (tally.windows or 0) + len(parts)
                    lengths = count_document_tokens(lengths, np.array(origins), tokenizer)
                tally.add(texts, names, encodings, ids, lengths, tokenizer.unk_token_id)
                bar.update(len(texts))
    backend.no_truncation()
    tally.sha256 = finish_split(folder, arrow)
    tally.check_decoding(raw.stem)
    return tally


def encode_ahead(
    file: pq.ParquetFile, preprocess: Preprocess, encode: Callable[[list], list]
) -> Iterator[tuple[list[str], list, list]]:
    """Yield labels, texts and encodings of each batch, while a thread encodes the next (without Python's lock)."""
    with ThreadPoolExecutor(1) as thread:
        ahead = None
        for batch in file.iter_batches(ROWS_AT_ONCE):
            texts = read_texts(batch, preprocess)
            begun = batch.column("label").to_pylist(), texts, thread.submit(encode, texts)
            if ahead:
                yield *ahead[:2], ahead[2].result()
            ahead = begun
        if ahead:
            yield *ahead[:2], ahead[2].result()


def read_texts(batch: pa.RecordBatch, preprocess: Preprocess) -> list[str] | list[tuple[str, str]]:
    """The cleaned texts, or pairs of texts, of a batch of `data/raw`."""
    names = [name for name in ("text", "text_pair") if name in batch.schema.names]
    cleaned = [[clean(text, preprocess.strip_html) for text in batch.column(name).to_pylist()] for name in names]
    return cleaned[0] if len(cleaned) == 1 else list(zip(*cleaned, strict=True))


def read_cleaned_texts(raw: Path, preprocess: Preprocess) -> Iterator[str]:
    """Yield all cleaned texts of a Parquet file of `data/raw`, for a tokenizer to learn from."""
    with pq.ParquetFile(raw) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            for text in read_texts(batch, preprocess):
                yield from (text,) if isinstance(text, str) else text


def read_raw_texts(raw: Path) -> list[str]:
    """The texts of a Parquet file of `data/raw` as they are, those of a pair as one; UserError when it is broken."""
    try:
        columns = pq.read_table(raw).drop_columns("label").to_pydict().values()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UserError(f"{raw}: cannot be read ({error}); run `dvc repro download`, which makes it.") from None
    return ["\n\n".join(texts) for texts in zip(*columns, strict=True)]


def start_split(folder: Path, features: Features) -> Path:
    """Save an empty data set and return the path of its Arrow file, to be written by the caller.

    `Dataset.save_to_disk` would copy the rows through a memory map, so that memory grew with them.
    """
    datasets.disable_progress_bars()
    Dataset.from_dict({name: [] for name in features}, features).save_to_disk(folder, num_shards=1)
    (arrow,) = folder.glob("*.arrow")
    return arrow


def finish_split(folder: Path, arrow: Path) -> str:
    """Set the fingerprint, by default random, to the content's; return the content's SHA-256."""
    checksum = sha256(arrow)
    write_json(folder / "state.json", read_json(folder / "state.json") | {"_fingerprint": checksum[:16]})
    return checksum


def index_splits(folder: Path, tallies: dict[str, SplitStatistics]) -> str:
    """Make the folders of the splits one `DatasetDict`; return the SHA-256 of its content."""
    write_json(folder / "dataset_dict.json", {"splits": list(tallies)})
    return hashlib.sha256("".join(tally.sha256 for tally in tallies.values()).encode()).hexdigest()


def load_splits(folder: Path) -> DatasetDict:
    """The data set that `preprocess` wrote; UserError when it is missing or its bytes have changed."""
    remedy = "run `dvc repro preprocess`, which makes it"
    try:
        for arrow in folder.glob("*/*.arrow"):  # a file that is cut between two batches can be read
            if read_json(arrow.with_name("state.json"))["_fingerprint"] != sha256(arrow)[:16]:
                raise UserError(f"{arrow}: has changed since it was written; {remedy}.")
        return DatasetDict.load_from_disk(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowInvalid) as error:
        raise UserError(f"{folder}: cannot be read ({error}); {remedy}.") from None
