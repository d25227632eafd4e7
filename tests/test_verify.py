"""`python -m stages.verify` in a small checkout, and the lock of this repository."""

import csv
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file
from support.project import ROOT, change
from support.warm_python import find_python

from stages.core.yaml_files import read_yaml
from stages.verification.clone import clean_environment
from stages.verification.outputs import NOT_COMPARED, NOT_HERE, read_outputs

VERIFY = ("env", "CUDA_VISIBLE_DEVICES=", "python", "-m", "stages.verify")  # on the CPU, as `finished`


def test_a_pipeline_that_is_repeated_gives_the_same_bytes_and_leaves_nothing(finished, tmp_path):
    database = (finished.folder / "mlruns/mlflow.db").read_bytes()
    output = finished.run(*VERIFY, TMPDIR=str(tmp_path), MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    outputs = [path for path in read_outputs(finished.folder / "dvc.lock") if not path.startswith(tuple(NOT_COMPARED))]
    lines = [line.split()[1:] for line in output.splitlines() if line.endswith("  identical")]
    assert lines == [[path, "identical"] for path in outputs]
    assert {"data/raw", "data/tokenized", "models/base", "models/classifier", "metrics/evaluate.json"} < set(outputs)
    others = set(read_outputs(finished.folder / "dvc.lock")) - set(outputs)
    assert {"reports/report.html", "reports/report.md"} < others
    assert f"\nall {len(outputs)} outputs are identical; " in output
    assert re.fullmatch(r"\d+ s on .+, \d+ threads?, torch .+", output.splitlines()[-1].split("; ")[1])
    assert list(tmp_path.iterdir()) == []
    assert finished.run("git", "status", "--porcelain") == ""
    assert (finished.folder / "mlruns/mlflow.db").read_bytes() == database


def test_differences_are_listed_by_tensor_and_by_key(finished, tmp_path):
    checkout = finished.copy(tmp_path / "checkout")
    checkout.run("dvc", "unprotect", "models/classifier")
    weights = checkout.folder / "models/classifier/model.safetensors"
    tensors = load_file(weights)
    tensors["classifier.bias"] += 0.5
    save_file(tensors, weights, {"format": "pt"})
    metrics = checkout.json("metrics/train.json")
    text = json.dumps(metrics | {"validation_accuracy": 0.125}, indent=2)
    (checkout.folder / "metrics/train.json").write_text(text + "\n")
    assert "not finished" in checkout.run(*VERIFY, fails=True)
    checkout.run("dvc", "commit", "-f")
    lines = [line.strip() for line in checkout.run(*VERIFY, "--stage", "train", fails=True).splitlines()]
    assert f"model.safetensors: 1 of {len(tensors)} tensors differ, by 0.5 at most (classifier.bias)" in lines
    assert f"validation_accuracy: 0.125 → {metrics['validation_accuracy']}" in lines
    assert [line.split()[:2] for line in lines if line.endswith("  differs")] == [
        ["train", "metrics/train.json"], ["train", "models/classifier"]
    ]  # fmt: skip
    assert lines[-1].startswith("2 of 8 outputs differ; ")
    assert not any(line.startswith("evaluate ") for line in lines)


def test_local_data_and_model_outside_of_the_checkout_are_found(finished, tmp_path):
    checkout = finished.copy(tmp_path / "work/checkout")
    shutil.copytree(checkout.folder / "tiny", tmp_path / "models/tiny")
    with (tmp_path / "work/reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((f"text {n} is {n % 2}", n % 2) for n in range(100))])
    changes = {"data.source": "csv", "data.path": "../reviews.csv", "model.name": "../../models/tiny"}
    params = change(read_yaml(checkout.folder / "params.yaml"), changes | {"data.max_train_samples": None})
    (checkout.folder / "params.yaml").write_text(yaml.safe_dump(params))
    assert "not finished, run `dvc repro` first. Changed: data (download)" in checkout.run(*VERIFY, fails=True)
    checkout.run("dvc", "repro", "preprocess")
    output = checkout.run(*VERIFY, "--stage", "preprocess", "--keep", TMPDIR=str(tmp_path))
    assert "all 4 outputs are identical; " in output
    kept = Path(re.search(r"^kept: (.+)$", output, re.MULTILINE)[1])
    assert (kept / tmp_path.name / "work/checkout/data/tokenized").is_dir()


def test_a_new_clone_is_compared_with_the_hashes_alone(finished, tmp_path):
    clone = finished.clone(tmp_path / "clone")
    lock = clone.folder / "dvc.lock"
    checksum = read_outputs(lock)["data/raw"].checksum
    lock.write_text(lock.read_text().replace(checksum, "0" * 32 + ".dir"))
    lines = [line.strip() for line in clone.run(*VERIFY, "--stage", "download", fails=True).splitlines()]
    assert lines[lines.index(NOT_HERE) - 1].split() == ["download", "data/raw", "differs"]
    assert lines[-1].startswith("1 of 1 outputs differ; ")


def test_an_unfinished_pipeline_is_an_error(finished, tmp_path):
    checkout = finished.copy(tmp_path / "checkout")
    (checkout.folder / "dvc.lock").unlink()
    output = checkout.run(*VERIFY, fails=True)
    assert output.strip() == (
        "error in verify: dvc.lock: missing; run `dvc repro` first, there is nothing to compare with yet."
    )


def test_an_unknown_stage_is_an_error(finished):
    assert "error in verify: dvc status failed: " in finished.run(*VERIFY, "--stage", "nonsense", fails=True)


def test_data_and_base_model_of_the_committed_lock_hold_on_this_machine(tmp_path):
    environment = clean_environment(tmp_path)
    environment["PATH"] = f"{find_python().parent}{os.pathsep}{environment['PATH']}"

    def run(*command):
        done = subprocess.run(
            command,
            cwd=tmp_path / "clone",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (tmp_path / "clone").mkdir()
    run("git", "clone", "-q", str(ROOT), ".")
    if read_yaml(tmp_path / "clone/params.yaml")["data"]["source"] != "demo":
        pytest.skip("the last commit has other data than the demo corpus, which may need the network")
    lock = tmp_path / "clone/dvc.lock"
    committed = read_outputs(lock)
    output = run("dvc", "repro", "--force", "preprocess")
    assert re.findall("Running stage '(.+)'", output) == ["download", "base_model", "preprocess"]
    paths = ("data/raw", "models/base", "data/tokenized")
    assert {path: read_outputs(lock)[path] for path in paths} == {path: committed[path] for path in paths}
