"""Rows per second of `preprocess` on the data of the last `dvc repro`, compared with `tokenizers` alone.

python -m benchmarks.tokenizing [--repeats 5]
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from stages.core.csv_tables import ROWS_AT_ONCE
from stages.core.files import read_json
from stages.core.params import Params
from stages.core.paths import BASE, MANIFEST, RAW
from stages.text.encoding import encode_split, read_texts
from stages.text.tokenizer import configure, enable_truncation, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TRAIN = RAW / "train.parquet"


def main() -> None:
    repeats = parse_arguments().repeats
    preprocess = Params.load().preprocess
    tokenizer = load_tokenizer(BASE)
    labels = read_json(MANIFEST)["labels"]
    configure(tokenizer, BASE, preprocess, pairs=False)
    with pq.ParquetFile(TRAIN) as file:
        batches = [read_texts(batch, preprocess) for batch in file.iter_batches(ROWS_AT_ONCE)]
    alone, complete = [], []
    for _ in range(repeats):
        alone.append(measure_tokenizer(tokenizer, batches))
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            encode_split(TRAIN, Path(folder) / "train", labels, tokenizer, preprocess, has_types=False)
            complete.append(time.perf_counter() - started)
    rows = sum(len(batch) for batch in batches)
    print(f"{rows:,} rows, medians of {repeats}")
    print(f"tokenizers alone: {rows / median(alone):,.0f} rows a second")
    print(f"reading, cleaning, tokenizing, counting, writing: {rows / median(complete):,.0f} rows a second")
    print(f"share: {median(alone) / median(complete):.2f}")


def measure_tokenizer(tokenizer: "PreTrainedTokenizerBase", batches: list) -> float:
    """Seconds to tokenize texts that are cleaned already."""
    enable_truncation(tokenizer)
    started = time.perf_counter()
    for batch in batches:
        tokenizer.backend_tokenizer.encode_batch_fast(batch)
    return time.perf_counter() - started


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokenizing", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
