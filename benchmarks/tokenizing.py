"""Rows a second of `preprocess` on the data of the last `dvc repro`, against those of `tokenizers` alone.

python -m benchmarks.tokenizing [--repeats 5]
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq

from stages.core.csv_tables import ROWS_AT_ONCE
from stages.core.files import read_json
from stages.core.params import Params
from stages.text.encoding import encode_split, read_texts
from stages.text.tokenizer import configure, enable_truncation, load_tokenizer

RAW, BASE = Path("data/raw/train.parquet"), Path("models/base")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokenizing", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats, preprocess = parser.parse_args().repeats, Params.load().preprocess
    tokenizer, labels = load_tokenizer(BASE), read_json(RAW.with_name("dataset.json"))["labels"]
    configure(tokenizer, BASE, preprocess, pairs=False)
    with pq.ParquetFile(RAW) as file:
        texts = [read_texts(batch, preprocess) for batch in file.iter_batches(ROWS_AT_ONCE)]
    alone, ours = [], []
    for _ in range(repeats):
        enable_truncation(tokenizer)
        started = time.perf_counter()
        for batch in texts:
            tokenizer.backend_tokenizer.encode_batch_fast(batch)
        alone.append(time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            encode_split(RAW, Path(folder) / "train", labels, tokenizer, preprocess, types=False)
            ours.append(time.perf_counter() - started)
    rows = sum(len(batch) for batch in texts)
    print(f"{rows:,} rows, medians of {repeats}")
    print(f"tokenizers alone: {rows / median(alone):,.0f} rows a second")
    print(f"reading, cleaning, tokenizing, counting, writing: {rows / median(ours):,.0f} rows a second")
    print(f"share: {median(alone) / median(ours):.2f}")


if __name__ == "__main__":
    main()
