"""What the tests of data share: reading a source as `download` does."""

import json

import pyarrow.parquet as pq
import pytest

from stages.data.corpus import SPLITS, Corpus
from stages.data.leaks import handle_leaks
from stages.data.raw_files import write_raw
from stages.data.sources import read_source
from stages.data.splits import choose_rows, report_missing_classes


@pytest.fixture
def read(params, tmp_path_factory):
    """Do what `download` does; return `{split: [(text, label, ...), ...]}` and the manifest."""

    def run(seed=1, **data):
        data = params({f"data.{key}": value for key, value in data.items()}).data
        scratch, raw = tmp_path_factory.mktemp("scratch"), tmp_path_factory.mktemp("raw")
        corpus = Corpus(data, scratch)
        read_source(data, seed, corpus)
        corpus.check()
        splits, leaks = handle_leaks(corpus, choose_rows(corpus, data, seed), data)
        report_missing_classes(corpus, splits, data)
        write_raw(corpus, splits, leaks, data, raw)
        tables = {split: pq.read_table(raw / f"{split}.parquet") for split in SPLITS}
        rows = {split: list(zip(*table.to_pydict().values(), strict=True)) for split, table in tables.items()}
        return rows, json.loads((raw / "dataset.json").read_text())

    return run


@pytest.fixture
def read_rows(workspace, read):
    """The same for rows, dicts of columns: of a file, or of `{split: rows}`, written as JSON lines."""

    def run(rows, seed=1, **data):
        (workspace / "given").mkdir(exist_ok=True)
        splits = rows if isinstance(rows, dict) else {"all": rows}
        for split, of_split in splits.items():
            (workspace / f"given/{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in of_split))
        path = "given" if isinstance(rows, dict) else "given/all.jsonl"
        return read(seed, **{"source": "json", "path": path} | data)

    return run
