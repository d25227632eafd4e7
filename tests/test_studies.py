"""Studies in a real checkout: searches, seeds, learning curves and label issues, with DVC and MLflow."""

import csv
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter

import mlflow
import pytest
import yaml
from support.project import change
from support.warm_python import PYTHON

from stages.core.yaml_files import read_yaml

SPACE = {
    "train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "train.per_device_train_batch_size": {"choices": [16, 32]},
}


def copy_with_space(checkout, folder):
    checkout = checkout.copy(folder)
    path = checkout.folder / "params.yaml"
    changes = {"sweep": SPACE, "train.freeze_layers": 1, "train.eval_steps": 0.25}
    path.write_text(yaml.safe_dump(change(read_yaml(path), changes), sort_keys=False))
    return checkout


@pytest.fixture(scope="module")
def checkout(finished, tmp_path_factory):
    """With half of the layers frozen, and a space to search."""
    checkout = copy_with_space(finished, tmp_path_factory.mktemp("studies") / "checkout")
    checkout.run("git", "add", "-A")
    checkout.run("git", "commit", "-qm", "a space")
    yield checkout
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def sweep(checkout):
    """The output of a search of eight trials."""
    return checkout.run("python", "-m", "stages.sweep", "--trials", "8")


def read_table(checkout, path):
    with (checkout.folder / "reports" / path).open(newline="") as file:
        return list(csv.DictReader(file))


def find_study(checkout, kind):
    """The newest run of a kind of study, and the runs nested in it."""
    runs = checkout.runs()
    parent = [run for run in runs if run.data.tags.get("study.kind") == kind][-1]
    return parent, [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]


def wait_until_all_is_sent(checkout):
    """Where other tests run too, the sender of a killed process may still be at work."""
    for _ in range(600):
        if not list((checkout.folder / "mlruns/journal").glob("*/events.jsonl")):
            return
        time.sleep(0.1)
    raise AssertionError("a journal was not sent")


def test_the_best_trial_becomes_an_experiment_with_the_same_validation(checkout, sweep):
    best = read_table(checkout, "studies/sweep.csv")[0]
    assert "warning: validation" not in sweep
    assert checkout.json("metrics/train.json")["validation_loss"] == float(best["loss"])
    assert checkout.json("metrics/train.json")["validation_accuracy"] == float(best["accuracy"])
    params = read_yaml(checkout.folder / "params.yaml")
    assert params["train"]["learning_rate"] == float(best["learning_rate"])
    assert params["sweep"] == SPACE
    name = re.search(r"dvc exp run -f -n (\S+)", sweep)[1]
    assert name in checkout.run("dvc", "exp", "list", "--name-only").split()


def test_a_search_begins_with_the_present_params(checkout, sweep):
    first = next(row for row in read_table(checkout, "studies/sweep.csv") if row["trial"] == "0")
    assert (first["learning_rate"], first["per_device_train_batch_size"]) == ("0.001", "16")


def test_each_trial_is_a_nested_run_with_params_and_curves(checkout, sweep):
    parent, nested = find_study(checkout, "sweep")
    rows = {row["trial"]: row for row in read_table(checkout, "studies/sweep.csv")}
    assert parent.info.status == "FINISHED"
    assert sorted(run.info.run_name for run in nested) == [f"sweep {number}" for number in range(8)]
    assert {run.info.status for run in nested} == {"FINISHED"}
    for run in nested:
        row = rows[run.info.run_name.removeprefix("sweep ")]
        assert run.data.params["train.learning_rate"] == row["learning_rate"]
        assert run.data.tags["study.trial"] == {"complete": "complete", "stopped": "stopped"}[row["state"]]
        assert len(mlflow.MlflowClient().get_metric_history(run.info.run_id, "validation/accuracy")) >= 1
    assert not mlflow.MlflowClient().list_artifacts(nested[0].info.run_id)
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(parent.info.run_id)}
    assert files == {"sweep.html", "sweep.csv"}


def test_a_finished_search_trains_nothing_again(checkout, sweep):
    before = checkout.json("metrics/timings/train.json")
    output = checkout.run("python", "-m", "stages.sweep", "--trials", "8")
    assert "best of 8" in output
    assert "Running stage" not in output
    assert checkout.json("metrics/timings/train.json") == before


def test_a_killed_search_is_complete_in_the_end(finished, tmp_path):
    copy = copy_with_space(finished, tmp_path / "killed")
    command = [PYTHON, "-m", "stages.sweep", "--trials", "12", "--no-experiment"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(command, cwd=copy.folder, env=environment, stdout=output, stderr=output)
        while not re.search(r"[4-9]/12", (tmp_path / "output").read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    output = copy.run("python", "-m", "stages.sweep", "--trials", "12", "--no-experiment")
    assert "best of 12" in output
    wait_until_all_is_sent(copy)
    _, nested = find_study(copy, "sweep")
    assert Counter(run.info.run_name for run in nested).most_common(1)[0][1] == 1
    assert len(nested) == len(read_table(copy, "studies/sweep.csv")) == 12


def test_an_outage_loses_no_trial(finished, tmp_path):
    copy = copy_with_space(finished, tmp_path / "outage")
    down = "http://127.0.0.1:9"
    output = copy.run("python", "-m", "stages.seeds", "--count", "2", MLFLOW_TRACKING_URI=down)
    assert f"MLflow at {down} did not accept all events" in output
    (journal,) = (copy.folder / "mlruns/journal").glob("*/events.jsonl")
    events = [json.loads(line) for line in journal.read_text().splitlines() if line]
    assert [event["trial"] for event in events if event["kind"] == "trial"] == [0, 1]


def test_seeds_are_summarized_for_the_report(checkout):
    output = checkout.run("python", "-m", "stages.seeds", "--count", "3")
    rows = read_table(checkout, "studies/seeds.csv")
    assert [row["seed"] for row in rows] == ["42", "43", "44"]
    mean = sum(float(row["accuracy"]) for row in rows) / 3
    assert f"Over 3 seeds, accuracy on validation is {mean:.4f}" in output
    assert len(find_study(checkout, "seeds")[1]) == 3
    checkout.run("dvc", "repro", "-f", "-s", "evaluate")
    assert f"Over 3 seeds, accuracy on validation is {mean:.3f}" in (checkout.folder / "reports/report.md").read_text()


def test_a_learning_curve_says_what_more_rows_bring(checkout):
    output = checkout.run("python", "-m", "stages.learning_curve", "--draws", "2")
    rows = read_table(checkout, "studies/learning_curve.csv")
    assert Counter(row["rows"] for row in rows) == dict.fromkeys(["12", "25", "50", "100", "200"], 2)
    assert len({row["loss"] for row in rows}) > 5
    assert re.search(r"With 400 rows, twice as many, accuracy on validation would be about 0\.\d+", output)
    assert len(find_study(checkout, "learning curve")[1]) == 10


def test_label_issues_are_rows_of_the_data_with_another_label(checkout):
    import pyarrow.parquet as pq

    checkout.run("python", "-m", "stages.label_issues", "--folds", "2")
    rows = read_table(checkout, "label_issues.csv")
    raw = {split: pq.read_table(checkout.folder / f"data/raw/{split}.parquet") for split in ("train", "validation")}
    assert len(rows) > 5
    for row in rows:
        expected = raw[row["split"]].slice(int(row["row"]), 1).to_pylist()[0]
        assert (row["text"], row["given"]) == (expected["text"], expected["label"])
        assert row["suggested"] != row["given"]
    checkout.run("dvc", "repro", "-f", "-s", "evaluate")
    report = (checkout.folder / "reports/report.md").read_text()
    assert f"{len(rows)} of 700 labels of train and validation are probably wrong" in report
    parent, nested = find_study(checkout, "label issues")
    assert (parent.data.metrics["study/label_issues"], len(nested)) == (len(rows), 2)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sweep --trials 0", "argument --trials: found '0'; allowed: a whole number ≥ 1"),
        ("sweep --minutes x", "argument --minutes: found 'x'; allowed: a number of minutes > 0"),
        ("sweep --storage nonsense", "error in sweep: the storage nonsense: cannot be used"),
        ("seeds --count 1", "error in seeds: --count: found 1; at least two seeds"),
        ("label_issues --folds 1", "error in label issues: --folds: found 1; allowed: 2 and more"),
        ("learning_curve --draws -1", "argument --draws: found '-1'; allowed: a whole number"),
    ],
)
def test_a_bad_argument_is_one_message(checkout, command, message):
    output = checkout.run("python", "-m", *f"stages.{command}".split(), fails=True)
    assert message in output
    assert "Traceback" not in output
