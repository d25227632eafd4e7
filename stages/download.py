"""Bring the data set of `data.source` into `data/raw`: one Parquet file a split, and `dataset.json`.

python -m stages.download
"""

from pathlib import Path

from stages.lib.files import new_folder
from stages.lib.params import Params
from stages.lib.sources import link_source, read_source, write_raw
from stages.lib.timing import run_stage

RAW = Path("data/raw")


def main() -> None:
    params = Params.load()
    corpus = read_source(params.data, params.seed)
    with new_folder(RAW) as folder:
        write_raw(corpus, params.data, folder)
    link_source(params.data, Path("data/source"))
    print(f"{RAW}: " + ", ".join(f"{len(rows):,} {split}" for split, rows in corpus.splits.items()) + " rows")
    for what, count in sorted(corpus.ignored.items()):
        print(f"ignored: {what} ({count:,} {'file' if count == 1 else 'files'})")


if __name__ == "__main__":
    run_stage("download", main)
