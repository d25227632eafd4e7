"""A head on a frozen encoder that reads the first token, or the mean of all, and TF-IDF with logistic regression.

python -m benchmarks.heads [--imdb aclImdb_v1.tar.gz] [--chinese ChnSentiCorp] [--seeds 3]

Prints a Markdown table: accuracy on validation and test, means over the seeds, and seconds. Those of a head are of the
training with its validations, and of the frozen layers' features in the first run; those of TF-IDF are of its fit.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

import pyarrow.parquet as pq
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline

from benchmarks.speed import run_python, write_params
from stages.core.files import read_json

ROWS = {"max_train_samples": 5556, "max_test_samples": 2000}  # of IMDB; a tenth of the first is for validation
CHINESE = {
    **{"source": "csv", "delimiter": "\t", "header": False, "quotechar": None},
    **{"text_column": 0, "label_column": 1, "splits": {"train": "train", "test": "dev"}, "on_bad_rows": "drop"},
}


def main() -> None:
    options = parse_arguments()
    print("| data | rows | what is trained | validation | test | seconds | of them features, once |")
    print("|---|---:|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, data in list_data(options):
            workspace = Path(folder, name)
            write_params(workspace, {"data": data, "tracking": {"log_model": False, "system_metrics": False}})
            for stage in ("download", "base_model", "preprocess"):
                run_python(workspace, "-m", f"stages.{stage}")
            rows = pq.read_metadata(workspace / "data/raw/train.parquet").num_rows
            for what, values in (
                ("head, first token", measure_head(workspace, "first", options.seeds)),
                ("head, mean of all tokens", measure_head(workspace, "mean", options.seeds)),
                ("TF-IDF and logistic regression", measure_baseline(workspace, "char" if "Chn" in name else "word")),
            ):
                validation, test, seconds, features = values
                print(
                    f"| {name} | {rows:,} | {what} | {validation:.3f} | {test:.3f} | {seconds:.1f} | {features:.1f} |",
                    flush=True,
                )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.heads", description=__doc__.splitlines()[0])
    parser.add_argument("--imdb", type=Path, help="the archive of the Large Movie Review Dataset")
    parser.add_argument("--chinese", type=Path, help="a folder with train.tsv and dev.tsv of ChnSentiCorp")
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args()


def list_data(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and section `data` of each data set."""
    yield "demo", {}
    if options.imdb:
        yield "IMDB", {"source": "folder", "path": str(options.imdb.resolve())} | ROWS
    if options.chinese:
        yield "ChnSentiCorp", {"path": str(options.chinese.resolve())} | CHINESE


def measure_head(workspace: Path, pooling: str, seeds: int) -> tuple[float, float, float, float]:
    """Accuracy on validation and on test, seconds of the training, and of the features that its first run computes."""
    write_params(workspace, {"model": {"pooling": pooling}, "train": {"freeze_layers": "all"}})
    run_python(workspace, "-m", "stages.base_model")
    validation, test, loop, features = [], [], [], []
    for seed in range(seeds):
        write_params(workspace, {"seed": seed})
        for stage in ("train", "evaluate"):
            run_python(workspace, "-m", f"stages.{stage}")
        timings = read_json(workspace / "metrics/timings/train.json")
        validation.append(read_json(workspace / "metrics/train.json")["validation_accuracy"])
        test.append(read_json(workspace / "metrics/evaluate.json")["accuracy"])
        loop.append(timings["train_loop_seconds"])
        features.append(timings["train_frozen_seconds"])
    return mean(validation), mean(test), median(loop) + features[0], features[0]


def measure_baseline(workspace: Path, analyzer: str) -> tuple[float, float, float, float]:
    """The same of TF-IDF of words and pairs of words, or of characters where words are not separated by spaces."""
    train, validation, test = (
        pq.read_table(workspace / f"data/raw/{split}.parquet").to_pydict() for split in ("train", "validation", "test")
    )
    started = time.perf_counter()
    vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(vectorizer, LogisticRegression(max_iter=1000)).fit(train["text"], train["label"])
    seconds = time.perf_counter() - started
    accuracies = [accuracy_score(split["label"], model.predict(split["text"])) for split in (validation, test)]
    return accuracies[0], accuracies[1], seconds, 0.0


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    main()
