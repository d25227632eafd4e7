"""`stages.drift` in the finished checkout of the tiny model."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from support.project import ROOT, change
from support.warm_python import find_python

from stages import drift
from stages.core.errors import UserError
from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.core.yaml_files import read_yaml
from stages.data.demo_corpus import make_reviews
from stages.evaluation.predictions import make_predictions
from stages.inference.samples import Sample, SampledRow

GERMAN = "Das Gerät ging nach {} Tagen kaputt, und niemand hat auf meine {} Briefe geantwortet."


@pytest.fixture(scope="module")
def checkout(finished, tmp_path_factory):
    checkout = finished.copy(tmp_path_factory.mktemp("drift") / "checkout")
    rows = make_reviews("test", 7)[:120]
    write(checkout.folder / "same.csv", [("text", "label"), *rows])
    write(checkout.folder / "other.csv", [("content",), *((GERMAN.format(n, n % 7),) for n in range(80))])
    return checkout


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def run(checkout, monkeypatch, capsys):
    """Run it there; return what it wrote to stdout, and the exit message, which is None for code 0."""
    monkeypatch.chdir(checkout.folder)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["drift", "--csv", *map(str, arguments)])
        message = None
        try:
            drift.main()
        except SystemExit as exit:
            message = exit.code
        return capsys.readouterr().out, message

    return run


def test_texts_of_the_same_source_are_no_drift_and_their_metrics_are_compared(run, checkout):
    output, message = run("same.csv")
    assert message is None
    assert output.startswith("No drift found: ")
    assert "Accuracy 0." in output
    result = checkout.json("reports/drift.json")
    assert (result["drift"], result["labelled_rows"]) == (False, 120)
    assert result["rows"] == {"new": {"compared": 120, "total": 120}, "test": {"compared": 100, "total": 100}}
    accuracy = result["metrics"][0]
    assert accuracy["name"] == "Accuracy"
    assert accuracy["test"][0] == pytest.approx(checkout.json("metrics/evaluate.json")["accuracy"])
    assert "Accuracy" in (checkout.folder / "reports/drift.html").read_text()


def test_texts_in_another_language_are_drift_with_exit_code_1(checkout):
    command = (find_python(), "-m", "stages.drift", "--csv", "other.csv", "--text-column", "content")
    environment = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False, env=environment)
    *steps, message = result.stderr.strip().splitlines()
    assert (result.returncode, message) == (1, "drift found: other.csv differs from the test split")
    assert steps[0] == "predicting 180 texts"
    assert result.stdout.startswith("Drift: a classifier tells the new texts from those of the test split (AUC 1.000")
    found = json.loads((checkout.folder / "reports/drift.json").read_text())
    assert (found["drift"], found["metrics"], found["csv"]) == (True, [], "other.csv")
    assert "Das Gerät ging nach" in (checkout.folder / "reports/drift.html").read_text()


def test_a_file_whose_name_is_not_utf_8_is_compared_too(run, checkout):
    name = os.fsdecode(b"caf\xe9.csv")
    shutil.copy(checkout.folder / "same.csv", checkout.folder / name)
    run(name)
    assert checkout.json("reports/drift.json")["csv"] == r"caf\udce9.csv"
    assert r"caf\udce9.csv row " in (checkout.folder / "reports/drift.html").read_text()


def test_equal_runs_give_equal_files(run, checkout):
    run("same.csv")
    files = [checkout.folder / f"reports/drift.{suffix}" for suffix in ("json", "html")]
    first = [file.read_bytes() for file in files]
    run("same.csv")
    assert [file.read_bytes() for file in files] == first


def test_rows_without_a_label_count_for_drift_alone(run, checkout):
    rows = [(text, label if n < 60 else "") for n, (text, label) in enumerate(make_reviews("test", 7)[:120])]
    write(checkout.folder / "some.csv", [("text", "verdict"), *rows])
    run("some.csv", "--label-column", "verdict")
    result = checkout.json("reports/drift.json")
    assert (result["labelled_rows"], result["rows"]["new"]["compared"]) == (60, 120)


def test_metrics_of_few_labelled_texts_are_not_compared(run, checkout):
    """By the bootstrap, the accuracy of one text that is right would be 1.000 to 1.000, and significantly higher."""
    rows = [(text, label if n < 49 else "") for n, (text, label) in enumerate(make_reviews("test", 7)[:120])]
    write(checkout.folder / "few.csv", [("text", "label"), *rows])
    output, _ = run("few.csv")
    assert "49 new texts have a label; metrics are compared from 50 on." in output
    assert "Accuracy" not in output
    result = checkout.json("reports/drift.json")
    assert (result["labelled_rows"], result["metrics"]) == (49, [])


def test_more_rows_than_max_rows_are_drawn(run, checkout):
    path = checkout.folder / "params.yaml"
    before = path.read_text()
    path.write_text(yaml.safe_dump(change(read_yaml(path), {"drift.max_rows": 60}), sort_keys=False))
    run("same.csv")
    path.write_text(before)
    rows = checkout.json("reports/drift.json")["rows"]
    assert rows == {"new": {"compared": 60, "total": 120}, "test": {"compared": 60, "total": 100}}


ROWS = [("a text", "positive"), *((f"text {number}", "positive") for number in range(60))]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], (), r"bad.csv: is empty\."),
        ([("text",)], (), r"bad.csv: 0 different texts; the test for drift needs 50\. Wait"),
        ([("text",), *[("the same",)] * 99], (), r"bad.csv: 1 different texts; the test for drift needs 50"),
        ([("text", "label"), *ROWS[:49]], (), r"bad.csv: 49 different texts"),
        ([("text",), *((f"the{' ' * n} same<br>",) for n in range(60))], (), r"bad.csv: 1 different texts"),
        ([("texts", "label"), *ROWS], (), r"--text-column .*: bad.csv has no column 'text'"),
        ([("text", "label"), *ROWS, ("b", "mixed")], (), r"bad.csv row 62 \(line 63\): label 'mixed'; the model knows"),
        ([("text", "label"), *ROWS, (" ", "positive")], (), r"bad.csv row 62 \(line 63\): empty text"),
        ([("text", "label"), *ROWS, ("b",)], (), r"bad.csv row 62 \(line 63\): has 1 columns, expected 2"),
        ([("text", "label"), *ROWS], ("--label-column", "stars"), r"--label-column .*: bad.csv has no column 'stars'"),
        ([("text", "label"), *ROWS], ("--delimiter", "::"), r"data.delimiter: found '::'; allowed: one character"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_one_message_and_earlier_results_stay(rows, options, message, run, checkout):
    write(checkout.folder / "bad.csv", rows)
    page = checkout.folder / "reports/drift.html"
    page.write_text("the one before")
    with pytest.raises(UserError, match=message):
        run("bad.csv", *options)
    assert page.read_text() == "the one before"


def test_a_test_split_that_is_too_small_is_one_message(run, checkout, tmp_path, monkeypatch):
    shutil.copytree(checkout.folder / "models/classifier", tmp_path / "models/classifier")
    for name in ("params.yaml", "same.csv"):
        shutil.copy(checkout.folder / name, tmp_path)
    (tmp_path / "data/raw").mkdir(parents=True)
    pq.write_table(pq.read_table(checkout.folder / "data/raw/test.parquet")[:40], tmp_path / "data/raw/test.parquet")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"the test split .*: 40 different texts; .* Use .*data.test_fraction"):
        run("same.csv")


def make_sample(cells):
    return Sample("new.csv", [SampledRow("text", f"row {n}", cell) for n, cell in enumerate(cells)], len(cells), True)


@pytest.mark.parametrize(
    ("changes", "cells", "expected"),
    [
        ({"data.label_separator": ";"}, ["a;b", "", "b"], {0: ("a", "b"), 1: (), 2: ("b",)}),
        ({"data.label_column": ["a", "b"]}, [("1", "1"), ("", ""), ("0", "0")], {0: ("a", "b"), 2: ()}),
        ({"data.label_names": {1: "a", 2: "b"}}, ["2", "", "1"], {0: ("b",), 2: ("a",)}),
    ],
)
def test_labels_are_read_as_params_say(changes, cells, expected, params):
    source = {"data.source": "csv", "data.path": "train.csv"}
    assert drift.read_labels(make_sample(cells), params(source | changes), ["a", "b"]) == expected


@pytest.mark.parametrize(
    ("cell", "message"), [("3", "row 0: label not in data.label_names"), ("2", "label 'b'; the mo")]
)
def test_a_label_that_cannot_be_used_names_its_row(cell, message, params):
    changes = {"data.source": "csv", "data.path": "train.csv", "data.label_names": {1: "a", 2: "b"}}
    with pytest.raises(UserError, match=message):
        drift.read_labels(make_sample([cell]), params(changes), ["a", "c"])


def test_predictions_of_the_rows_with_labels_get_them():
    logits = np.array([[1.0, -1.0], [5.0, 5.0], [-1.0, 1.0]])
    several = make_predictions(MULTI_LABEL, logits, names=("a", "b"))
    labelled = drift.label(several, {0: ("a", "b"), 2: ()}, False)
    assert labelled.labels.tolist() == [[True, True], [False, False]]
    assert labelled.logits.tolist() == logits[[0, 2]].tolist()
    one = make_predictions(SINGLE_LABEL, logits, names=("a", "b"))
    assert drift.label(one, {0: ("b",), 2: ("b",)}, False).correct.tolist() == [False, True]


def test_without_a_model_or_a_test_split_a_message_says_what_makes_it(run, checkout, tmp_path, monkeypatch):
    shutil.copy(checkout.folder / "params.yaml", tmp_path)
    shutil.copy(checkout.folder / "same.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"models/classifier: has no model .*`dvc repro` makes"):
        run("same.csv")
    shutil.copytree(checkout.folder / "models/classifier", tmp_path / "models/classifier")
    with pytest.raises(UserError, match=r"data/raw/test.parquet: cannot be read .*run `dvc repro download`"):
        run("same.csv")
