"""`stages.predict --parquet` as commands, on a tiny classifier with random weights."""

import csv
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.project import ROOT
from support.warm_python import find_python

from stages.core.params import Params
from stages.data.demo_corpus import make_reviews
from stages.model.classifier import build_classifier
from stages.text.tokenizer import configure, load_tokenizer

TEXTS = [text for text, _ in make_reviews("test", 0)[:500]]


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "classifier"
    tokenizer = load_tokenizer(tiny_model)
    configure(tokenizer, tiny_model, Params(sweep={}).preprocess, pairs=False)
    torch.manual_seed(0)
    build_classifier(tiny_model, ["negative", "positive"], tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def start(model, tmp_path):
    """Start it in an empty folder, as a process."""

    def start(*arguments, python=None):
        return subprocess.Popen(
            [python or find_python(), "-m", "stages.predict", "--model", model, *map(str, arguments)],
            cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


@pytest.fixture
def run(start):
    """Run it; return what it wrote to stdout, or the error that it has to end with."""

    def run(*arguments, code=0):
        process = start(*arguments)
        output, error = process.communicate()
        assert (process.returncode, "Traceback" in error) == (code, False), error
        return error if code else output

    return run


def write_files(folder, count, texts=TEXTS):
    folder.mkdir()
    for number in range(count):
        pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), folder / f"{number}.parquet")


def count_files(folder):
    return len([path for path in folder.glob("*") if not path.name.startswith(".")])


def test_a_file_is_answered_as_a_csv_file_is(run, tmp_path):
    table = pa.table({"id": range(len(TEXTS)), "text": TEXTS})
    pq.write_table(table, tmp_path / "in.parquet")
    with (tmp_path / "in.csv").open("w", newline="") as file:
        csv.writer(file).writerows([table.schema.names, *zip(*table.to_pydict().values(), strict=True)])
    options = ("--scores", "--top-k", 2, "--prefix", "my_")
    assert run("--parquet", "in.parquet", "--out", "out.parquet", *options) == (
        "labelled 500 rows of 1 file into out.parquet\n"
    )
    run("--csv", "in.csv", "--out", "out.csv", *options)
    rows, names = pq.read_table(tmp_path / "out.parquet").to_pylist(), ["my_probability", "my_score_negative"]
    with (tmp_path / "out.csv").open(newline="") as file:
        for row, expected in zip(rows, csv.DictReader(file), strict=True):
            assert [str(row["id"]), row["text"], row["my_label"]] == list(expected.values())[:3]
            assert [f"{row[name]:.4f}" for name in names] == [expected[name] for name in names]


def test_processes_that_run_at_once_share_the_files(run, start, tmp_path):
    write_files(tmp_path / "in", 6)
    processes = [start("--parquet", "in", "--out", "out") for _ in range(2)]
    outputs = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    rows = [int(output.split()[1].replace(",", "")) for output, _ in outputs]
    assert sum(rows) == 6 * len(TEXTS)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{number}.parquet" for number in range(6)]
    assert run("--parquet", "in", "--out", "out") == "6 of 6 files were labelled before\n"


def test_a_command_that_was_killed_continues_with_the_files_that_are_missing(run, start, tmp_path):
    write_files(tmp_path / "in", 8, TEXTS * 6)
    process = start("--parquet", "in", "--out", "out", python=sys.executable)
    while not count_files(tmp_path / "out"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = count_files(tmp_path / "out")
    assert 0 < before < 8
    assert run("--parquet", "in", "--out", "out") == (
        f"{before} of 8 files were labelled before\n"
        f"labelled {(8 - before) * 6 * len(TEXTS):,} rows of {8 - before} file{'s' * (before < 7)} into out\n"
    )
    assert len(list((tmp_path / "out").iterdir())) == 8


def test_an_error_is_one_message_and_no_file_is_written(run, tmp_path):
    write_files(tmp_path / "in", 1, ["fine", "", "good"])
    found = run("--parquet", "in", "--out", "out", code=1)
    assert "error in predict: in/0.parquet row 2: empty text." in found
    assert not list((tmp_path / "out").iterdir())
    assert "error in predict: --parquet: no does not exist." in run("--parquet", "no", "--out", "out", code=1)
    assert "--parquet needs --out" in run("--parquet", "in", code=2)
    assert "give either texts or --csv or --parquet" in run("--parquet", "in", "--csv", "in.csv", code=2)
    assert "--delimiter needs --csv" in run("--parquet", "in", "--out", "out", "--delimiter", ";", code=2)
