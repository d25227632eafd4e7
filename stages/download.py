"""Bring the data set of `data.source` into `data/raw`: one Parquet file a split, and `dataset.json`.

python -m stages.download
"""

import tempfile
from pathlib import Path

import numpy as np

from stages.core.arguments import refuse_arguments
from stages.core.errors import to_one_line
from stages.core.files import new_folder
from stages.core.params import Params
from stages.core.paths import RAW, SOURCE_LINKS
from stages.core.stage import run_stage
from stages.data.corpus import Corpus
from stages.data.leaks import handle_leaks
from stages.data.raw_files import write_raw
from stages.data.sources import link_source, read_source
from stages.data.splits import Selection, choose_rows, count_labels, report_missing_classes

LABELS_SHOWN = 10  # the most frequent ones


def main() -> None:
    params = Params.load()
    # Inside of the new folder, so that what a killed process leaves is removed with it.
    with new_folder(RAW) as raw, tempfile.TemporaryDirectory(dir=raw) as temporary:
        corpus = Corpus(params.data, Path(temporary))
        read_source(params.data, params.seed, corpus)
        corpus.check()
        splits = choose_rows(corpus, params.data, params.seed)
        splits, leaks = handle_leaks(corpus, splits, params.data)
        report_missing_classes(corpus, splits, params.data)
        write_raw(corpus, splits, leaks, params.data, raw)
    link_source(params.data, SOURCE_LINKS)
    print_rows(splits)
    if corpus.is_multi_label:
        print_labels(corpus, splits)
    print_ignored(corpus)
    print_dropped(corpus)


def print_rows(splits: dict[str, Selection]) -> None:
    counts = [f"{len(selection.rows):,} {split}" for split, selection in splits.items()]
    print(f"{RAW}: {', '.join(counts)} rows")


def print_labels(corpus: Corpus, splits: dict[str, Selection]) -> None:
    """The share of rows that have each label, so that one sees whether splits are alike."""
    counts = {split: count_labels(corpus, selection) for split, selection in splits.items()}
    shown = np.argsort(-counts["train"], kind="stable")[:LABELS_SHOWN]
    for split, selection in splits.items():
        shares = [
            f"{to_one_line(corpus.names[label])} {counts[split][label] / len(selection.rows):.1%}" for label in shown
        ]
        print(f"labels of {split}: {', '.join(shares)}{', ...' * (len(corpus.names) > LABELS_SHOWN)}")


def print_ignored(corpus: Corpus) -> None:
    for what, count in sorted(corpus.ignored.items()):
        print(f"ignored: {to_one_line(what)} ({count:,})")


def print_dropped(corpus: Corpus) -> None:
    for split, counts in corpus.dropped.items():
        for reason, count in sorted(counts.items()):
            print(f"dropped: {to_one_line(reason)} ({count:,} rows of {split})")


if __name__ == "__main__":
    refuse_arguments("download", __doc__)
    run_stage("download", main)
