"""From one machine to another through a DVC remote in S3: a server of its protocol on this machine, two checkouts."""

import csv
import re

import mlflow
import pytest
from support.s3 import run_s3


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    """The address of a server with the bucket `store`."""
    with run_s3(tmp_path_factory.mktemp("s3")) as address:
        yield address


def push(checkout, address, path):
    checkout.run("dvc", "remote", "add", "-d", "store", f"s3://store/{path}")
    checkout.run("dvc", "remote", "modify", "store", "endpointurl", address)
    checkout.run("git", "add", "-A")
    checkout.run("git", "commit", "-qm", "remote")
    assert "pushed" in checkout.run("dvc", "push")


def test_another_machine_pulls_what_was_pushed_runs_nothing_and_can_evaluate(finished, s3, tmp_path):
    """The other machine has no local source of the data either."""
    checkout = finished.copy(tmp_path / "one/checkout")
    with (tmp_path / "one/reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((f"text {n} is {n % 2}", n % 2) for n in range(100))])
    changes = ("data.source=csv", "data.path=../reviews.csv", "data.max_train_samples=null", "tracking.log_model=false")
    checkout.run(
        "dvc", "exp", "run", *(part for change in changes for part in ("-S", change)),
        CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip
    push(checkout, s3, "csv")
    other = checkout.clone(tmp_path / "two/checkout")
    assert not (other.folder / "models/classifier").exists()
    other.run("dvc", "pull")
    output = other.run("dvc", "repro", "--allow-missing")
    assert output.count("didn't change, skipping") == 5
    assert "Running stage" not in output
    assert other.run("git", "status", "--porcelain") == ""
    for path in ("models/classifier/model.safetensors", "data/tokenized/train/data-00000-of-00001.arrow"):
        assert (other.folder / path).read_bytes() == (checkout.folder / path).read_bytes()
    output = other.run("dvc", "repro", "--single-item", "--force", "evaluate", CUDA_VISIBLE_DEVICES="")
    assert re.findall("Running stage '(.+)'", output) == ["evaluate"]
    assert other.json("metrics/evaluate.json") == checkout.json("metrics/evaluate.json")
    (run,) = other.runs()
    mlflow.set_tracking_uri(None)
    assert run.data.tags["train.run"] == checkout.json("models/mlflow_run.json")["run"]
    assert "data.path: ../reviews.csv does not exist" in other.run("dvc", "repro", fails=True)
    assert not (other.folder / "data/raw").exists()
    other.run("dvc", "checkout")
    assert "Running stage" not in other.run("dvc", "repro", "--allow-missing")


def test_a_new_clone_of_the_demo_pulls_and_runs_nothing(finished, s3, tmp_path):
    checkout = finished.copy(tmp_path / "one")
    push(checkout, s3, "demo")
    other = checkout.clone(tmp_path / "two")
    other.run("dvc", "pull")
    output = other.run("dvc", "repro")
    assert output.count("didn't change, skipping") == 5
    assert "Running stage" not in output
