"""Bring the data set of `data.source` into `data/raw`: one Parquet file a split, and `dataset.json`.

python -m stages.download
"""

import tempfile
from pathlib import Path

from stages.core.errors import to_one_line
from stages.core.files import new_folder
from stages.core.params import Params
from stages.core.stage import run_stage
from stages.data.corpus import Corpus
from stages.data.leaks import handle_leaks
from stages.data.sources import link_source, read_source
from stages.data.splits import choose_rows, write_raw

RAW = Path("data/raw")


def main() -> None:
    params = Params.load()
    with new_folder(RAW) as folder, tempfile.TemporaryDirectory(".part", ".rows-", folder.parent) as rows:
        corpus = Corpus(params.data, Path(rows))
        read_source(params.data, params.seed, corpus)
        corpus.check()
        splits, leaks = handle_leaks(corpus, choose_rows(corpus, params.data, params.seed), params.data)
        write_raw(corpus, splits, leaks, params.data, folder)
    link_source(params.data, Path("data/source"))
    print(f"{RAW}: " + ", ".join(f"{len(rows):,} {split}" for split, (_, rows) in splits.items()) + " rows")
    for what, count in sorted(corpus.ignored.items()):
        print(f"ignored: {to_one_line(what)} ({count:,})")
    for split, counts in corpus.dropped.items():
        for reason, count in sorted(counts.items()):
            print(f"dropped: {to_one_line(reason)} ({count:,} rows of {split})")


if __name__ == "__main__":
    run_stage("download", main)
