"""Between texts and tokens: a model's tokenizer, and the Arrow data set that it makes."""

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from tqdm import tqdm

from stages.lib.errors import UserError
from stages.lib.files import sha256
from stages.lib.params import Preprocess
from stages.lib.text import clean
from stages.lib.token_statistics import Tally

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS_AT_ONCE = 1000  # read, encoded and written together: neither memory nor bytes depend on how many there are
ROWS_READ_BACK = 50  # of a split: decoded, to see that the tokens say what the text says
# Position embeddings of these families start behind the padding index.
OFFSET_POSITIONS = {"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "roberta-prelayernorm"}


def load_tokenizer(base: Path, max_length: int) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model folder, which will truncate at `max_length` tokens wherever it is used from now on.

    UserError when the folder has none that `tokenizers` can run, or when the model reads fewer tokens.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"model.name: {base} has no tokenizer that can be loaded: {error}") from None
    if not tokenizer.is_fast:
        raise UserError(f"model.name: {base} has no tokenizer.json; only fast tokenizers are supported.")
    if tokenizer.pad_token_id is None:
        raise UserError(f"model.name: the tokenizer of {base} has no pad token; batches cannot be made with it.")
    limit = longest_input(base)
    if limit is not None and max_length > limit:
        raise UserError(f"preprocess.max_length: found {max_length}; this model reads at most {limit} tokens.")
    tokenizer.model_max_length = max_length
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def longest_input(base: Path) -> int | None:
    """Tokens that the model's position embeddings reach; None where it has no such limit."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    positions = config.get("max_position_embeddings")
    if positions is not None and config.get("model_type") in OFFSET_POSITIONS:
        positions -= config.get("pad_token_id", 1) + 1
    return positions


def encode_split(
    raw: Path, arrow: Path, labels: list[str], tokenizer: "PreTrainedTokenizerBase", preprocess: Preprocess
) -> Tally:
    """Clean and tokenize one Parquet file of `data/raw` into an Arrow stream; return what was counted.

    Columns: `input_ids` (special tokens included, at most `max_length`, no padding), `length` (of `input_ids`) and
    `labels` (index into the label names). Row i is row i of the Parquet file. Threads tokenize (`RAYON_NUM_THREADS`,
    by default one a core); the bytes depend on data and params alone.
    """
    features = Features(input_ids=List(Value("int32")), length=Value("int32"), labels=ClassLabel(names=labels))
    backend, schema, tally = tokenizer.backend_tokenizer, features.arrow_schema, Tally()
    number = {label: index for index, label in enumerate(labels)}
    file = pq.ParquetFile(raw)
    read_back = set(np.linspace(0, file.metadata.num_rows - 1, ROWS_READ_BACK, dtype=int).tolist())
    backend.enable_truncation(preprocess.max_length)
    with (
        pa.ipc.new_stream(arrow, schema) as writer,
        tqdm(total=file.metadata.num_rows, desc=f"tokenizing {raw.stem}", unit=" rows") as bar,
    ):
        for batch in file.iter_batches(ROWS_AT_ONCE):
            texts = [clean(text, preprocess.strip_html) for text in batch.column("text").to_pylist()]
            names = batch.column("label").to_pylist()
            encodings = backend.encode_batch_fast(texts)
            ids = [encoding.ids for encoding in encodings]
            lengths = [len(row) for row in ids]
            columns = {
                "input_ids": ids,
                "length": lengths,
                "labels": [number[name] for name in names],
            }
            writer.write_batch(pa.RecordBatch.from_pydict(columns, schema))
            for i in read_back & set(range(tally.rows, tally.rows + len(ids))):
                tally.read_back.append(reads_back(tokenizer, ids[i - tally.rows], texts[i - tally.rows]))
            tally.add(texts, names, encodings, lengths, tokenizer.unk_token_id)
            bar.update(len(ids))
    backend.no_truncation()
    tally.check_read_back(raw.stem)
    return tally


def reads_back(tokenizer: "PreTrainedTokenizerBase", ids: list[int], text: str) -> bool:
    """Whether the tokens decode to the text, or to its beginning where it was truncated.

    Compared as the tokenizer sees the text (lower case, say) and without white space, which decoders place anew.
    A row with unknown tokens cannot decode and counts as good; their share is in the statistics. Truncation may cut
    a byte-level token in the middle of a letter, which decodes to U+FFFD.
    """
    if tokenizer.unk_token_id in ids:
        return True
    normalizer = tokenizer.backend_tokenizer.normalizer
    expected = normalizer.normalize_str(text) if normalizer else text
    decoded = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    squeeze = re.compile(r"[\s▁]+").sub  # ▁ is how SentencePiece writes a space
    return squeeze("", expected).startswith(squeeze("", decoded).rstrip("\ufffd"))


def save_splits(arrows: dict[str, Path], folder: Path) -> str:
    """Write Arrow streams as a `DatasetDict` that `load_from_disk` reads; return the SHA-256 of its content.

    The fingerprints that `datasets` stores are set to the content's, since by default they are random.
    """
    datasets.disable_progress_bars()  # copying what is written already takes no time
    checksums = {split: sha256(path) for split, path in arrows.items()}
    data = DatasetDict(
        {
            split: Dataset(datasets.table.MemoryMappedTable.from_file(str(path)), fingerprint=checksums[split][:16])
            for split, path in arrows.items()
        }
    )
    data.save_to_disk(folder, num_shards=dict.fromkeys(arrows, 1))
    return hashlib.sha256("".join(checksums.values()).encode()).hexdigest()


def load_splits(folder: Path) -> DatasetDict:
    """The data set that `preprocess` wrote; UserError when it is missing or broken."""
    try:
        return DatasetDict.load_from_disk(folder)
    except (OSError, ValueError, KeyError, pa.ArrowInvalid) as error:
        raise UserError(f"{folder}: cannot be read ({error}); run `dvc repro preprocess`, which makes it.") from None
