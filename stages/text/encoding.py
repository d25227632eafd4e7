"""The data set of tokens in `data/tokenized`: written from `data/raw` by a tokenizer, and loaded again."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from tqdm import tqdm

from stages.core.csv_tables import ROWS_AT_ONCE
from stages.core.errors import UserError
from stages.core.files import read_json, sha256, write_json
from stages.core.params import Preprocess
from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL, ProblemType
from stages.text.cleaning import clean
from stages.text.statistics import SplitStatistics
from stages.text.tokenizer import decodes_to_text, enable_truncation, has_windows
from stages.text.windows import count_document_tokens, flatten_windows

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

ROWS_DECODED = 50  # of a split, evenly spaced: decoded, to check that the tokenizer loses no text
Texts = list[str] | list[tuple[str, str]]  # single texts, or pairs


class EncodedBatch(NamedTuple):
    """Some rows of `data/raw`, tokenized; `encodings` holds one for each text, `windows` those that are stored."""

    labels: list[Any]  # the name of each row's label, or a list of names
    texts: Texts
    encodings: list["Encoding"]
    windows: list["Encoding"]  # the encodings themselves where texts are truncated
    documents: Sequence[int]  # position in `texts` of the text that each window is of


def encode_split(
    raw: Path,
    folder: Path,
    labels: list[str],
    tokenizer: "PreTrainedTokenizerBase",
    preprocess: Preprocess,
    has_types: bool,
    problem_type: ProblemType = SINGLE_LABEL,
) -> SplitStatistics:
    """Clean and tokenize one Parquet file of `data/raw` into a `datasets` folder; return its statistics.

    Columns: `input_ids` (special tokens included, at most `max_length`, no padding), `length` (of `input_ids`),
    `labels` (index into the label names, or a list of them) and, with `has_types` and for pairs, `token_type_ids` (0
    in the first text, 1 in the second). Row i is row i of the Parquet file; with `stride` a row is one of its windows,
    and `document` holds i. Threads tokenize (`RAYON_NUM_THREADS`, by default one a core); the bytes depend on data and
    params alone.
    """
    has_types = has_types and "text_pair" in pq.read_schema(raw).names
    documents = pq.read_metadata(raw).num_rows if has_windows(tokenizer) else 0
    features = make_features(labels, problem_type, has_types, documents)
    statistics = SplitStatistics(windows=0 if has_windows(tokenizer) else None)
    arrow = create_arrow_file(folder, features)
    enable_truncation(tokenizer)
    with pq.ParquetFile(raw) as file, pa.ipc.new_stream(arrow, features.arrow_schema) as writer:
        num_rows = file.metadata.num_rows
        sampled_rows = set(np.linspace(0, num_rows - 1, ROWS_DECODED, dtype=int).tolist())
        with tqdm(total=num_rows, desc=f"tokenizing {raw.stem}", unit=" rows") as bar:
            for batch in encode_ahead(file, preprocess, tokenizer):
                first_row = statistics.rows
                columns = make_columns(batch, features, first_row)
                writer.write_batch(pa.RecordBatch.from_pydict(columns, features.arrow_schema))
                for i in sorted(sampled_rows & set(range(first_row, first_row + len(batch.texts)))):
                    encoding, text = batch.encodings[i - first_row], batch.texts[i - first_row]
                    statistics.decoded.append(decodes_to_text(tokenizer, encoding, text))
                add_to_statistics(statistics, batch, columns, tokenizer)
                bar.update(len(batch.texts))
    tokenizer.backend_tokenizer.no_truncation()
    statistics.sha256 = set_fingerprint(folder, arrow)
    statistics.check_decoding(raw.stem)
    return statistics


def make_features(labels: list[str], problem_type: ProblemType, has_types: bool, documents: int) -> Features:
    """The columns of a tokenized split, with the smallest integers that hold them; `documents`: 0 without windows."""
    label = ClassLabel(names=labels)
    columns = {
        "input_ids": List(Value("int32")),
        "length": Value("int32"),
        "labels": List(label) if problem_type == MULTI_LABEL else label,
    }
    if has_types:
        columns["token_type_ids"] = List(Value("int8"))
    if documents:
        columns["document"] = Value("int32" if documents <= 2**31 else "int64")
    return Features(columns)


def encode_ahead(
    file: pq.ParquetFile, preprocess: Preprocess, tokenizer: "PreTrainedTokenizerBase"
) -> Iterator[EncodedBatch]:
    """Yield the batches of a Parquet file, each tokenized, while a thread tokenizes the next one.

    The tokenizer releases Python's lock, so that writing a batch and tokenizing the next take place at once.
    """

    def finish(labels: list[Any], texts: Texts, pending: Any) -> EncodedBatch:
        encodings = pending.result()
        if has_windows(tokenizer):
            return EncodedBatch(labels, texts, encodings, *flatten_windows(encodings))
        return EncodedBatch(labels, texts, encodings, encodings, range(len(encodings)))

    with ThreadPoolExecutor(1) as thread:
        previous = None
        for batch in file.iter_batches(ROWS_AT_ONCE):
            texts = read_texts(batch, preprocess)
            pending = thread.submit(tokenizer.backend_tokenizer.encode_batch_fast, texts)
            started = batch.column("label").to_pylist(), texts, pending
            if previous:
                yield finish(*previous)
            previous = started
        if previous:
            yield finish(*previous)


def make_columns(batch: EncodedBatch, features: Features, first_row: int) -> dict[str, Any]:
    """The columns of a batch whose first text is row `first_row` of its split."""
    token_ids = [window.ids for window in batch.windows]
    columns: dict[str, Any] = {
        "input_ids": token_ids,
        "length": np.array([len(ids) for ids in token_ids], dtype=np.int32),
        "labels": encode_labels([batch.labels[i] for i in batch.documents], features["labels"]),
    }
    if "token_type_ids" in features:
        columns["token_type_ids"] = [window.type_ids for window in batch.windows]
    if "document" in features:
        columns["document"] = [first_row + i for i in batch.documents]
    return columns


def encode_labels(names: list[Any], feature: Any) -> list[Any]:
    """The column `labels` of rows whose labels have these names: a name for each row, or a list of names."""
    if isinstance(feature, List):
        return [feature.feature.str2int(of_row) for of_row in names]
    return feature.str2int(names)


def add_to_statistics(
    statistics: SplitStatistics, batch: EncodedBatch, columns: dict[str, Any], tokenizer: "PreTrainedTokenizerBase"
) -> None:
    lengths, truncated = columns["length"], 0
    if has_windows(tokenizer):
        lengths = count_document_tokens(lengths, np.array(batch.documents), tokenizer)
    else:
        truncated = sum(bool(encoding.overflowing) for encoding in batch.encodings)
    statistics.add(batch.texts, batch.labels, columns["input_ids"], lengths, truncated, tokenizer.unk_token_id)


def read_texts(batch: pa.RecordBatch, preprocess: Preprocess) -> Texts:
    """The cleaned texts, or pairs of texts, of a batch of `data/raw`."""
    names = [name for name in ("text", "text_pair") if name in batch.schema.names]
    cleaned = [[clean(text, preprocess.strip_html) for text in batch.column(name).to_pylist()] for name in names]
    return cleaned[0] if len(cleaned) == 1 else list(zip(*cleaned, strict=True))


def read_cleaned_texts(raw: Path, preprocess: Preprocess) -> Iterator[str]:
    """Yield all cleaned texts of a Parquet file of `data/raw`, to train a tokenizer on; pairs as two texts."""
    with pq.ParquetFile(raw) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            for text in read_texts(batch, preprocess):
                yield from (text,) if isinstance(text, str) else text


def read_raw_texts(raw: Path) -> list[str]:
    """The texts of a Parquet file of `data/raw`, not cleaned, those of a pair joined; UserError when it is broken."""
    try:
        names = [name for name in ("text", "text_pair") if name in pq.read_schema(raw).names]
        columns = pq.read_table(raw, columns=names).to_pydict().values()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UserError(f"{raw}: cannot be read ({error}); run `dvc repro download`, which makes it.") from None
    return ["\n\n".join(texts) for texts in zip(*columns, strict=True)]


def read_groups(raw: Path) -> list[str] | None:
    """The group of each row of a Parquet file of `data/raw`; None where the data have no groups."""
    return pq.read_table(raw, columns=["group"])["group"].to_pylist() if "group" in pq.read_schema(raw).names else None


def read_slices(raw: Path, columns: list[str]) -> dict[str, list[str]]:
    """The values of columns of slices in a Parquet file of `data/raw`, by column; UserError when it is broken."""
    try:
        with pq.ParquetFile(raw) as file:
            table = file.read([f"slice_{column}" for column in columns])
        return {column: table.column(f"slice_{column}").to_pylist() for column in columns}
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UserError(f"{raw}: cannot be read ({error}); run `dvc repro download`, which makes it.") from None


def create_arrow_file(folder: Path, features: Features) -> Path:
    """Save an empty data set; return the path of its Arrow file, which the caller writes.

    `Dataset.save_to_disk` would copy the rows through a memory map, so that memory grew with the number of rows.
    """
    datasets.disable_progress_bars()
    Dataset.from_dict({name: [] for name in features}, features).save_to_disk(folder, num_shards=1)
    (arrow,) = folder.glob("*.arrow")
    return arrow


def set_fingerprint(folder: Path, arrow: Path) -> str:
    """Make the data set's fingerprint, by default random, the beginning of the content's SHA-256; return all of it."""
    checksum = sha256(arrow)
    write_json(folder / "state.json", read_json(folder / "state.json") | {"_fingerprint": checksum[:16]})
    return checksum


def index_splits(folder: Path, statistics: dict[str, SplitStatistics]) -> str:
    """Make the folders of the splits one `DatasetDict`; return the SHA-256 of its content."""
    write_json(folder / "dataset_dict.json", {"splits": list(statistics)})
    return hashlib.sha256("".join(split.sha256 for split in statistics.values()).encode()).hexdigest()


def load_splits(folder: Path) -> DatasetDict:
    """The data set that `preprocess` wrote; UserError when it is missing or its bytes have changed."""
    remedy = "run `dvc repro preprocess`, which makes it"
    try:
        for arrow in folder.glob("*/*.arrow"):  # of a file that ends between two batches, Arrow reports no error
            if read_json(arrow.with_name("state.json"))["_fingerprint"] != sha256(arrow)[:16]:
                raise UserError(f"{arrow}: has changed since it was written; {remedy}.")
        return DatasetDict.load_from_disk(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowInvalid) as error:
        raise UserError(f"{folder}: cannot be read ({error}); {remedy}.") from None
