"""`python -m stages.export` on the model of a finished pipeline, and its export as champion in MLflow."""

import json
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from support.champion import make_champion
from support.warm_python import find_python

from stages.core.errors import UserError
from stages.inference.exporting import KEPT_IN_FP32, check_installed, predict_texts, read_texts
from stages.inference.loading import find_export
from stages.inference.predictor import Predictor


@pytest.fixture(scope="module")
def checkout(finished, tmp_path_factory):
    """With the model registered as champion, and an export of it in fp32."""
    checkout = finished.copy(tmp_path_factory.mktemp("export") / "checkout")
    make_champion(checkout)
    checkout.output = checkout.run("python", "-m", "stages.export")
    yield checkout
    mlflow.set_tracking_uri(None)


def predict(checkout, *options):
    return checkout.run("python", "-m", "stages.predict", "--scores", *options, "I loved it.", "So dull.")


def test_the_export_answers_as_torch_and_says_what_was_measured(checkout):
    assert "models/onnx: fp32, " in checkout.output
    assert "100.00% of the labels of 500 validation texts are those of torch" in checkout.output
    expected = predict(checkout, "--precision", "fp32")
    assert predict(checkout, "--engine", "onnx") == expected == predict(checkout, "--model", "models/onnx")
    export = checkout.json("models/onnx/classifier.json")["export"]
    assert export["agreement"]["largest_difference"] < 1e-4
    assert export["speed"]["onnx"]["single_text_ms"] > 0
    assert checkout.run("git", "status", "--porcelain", "models") == ""


def test_the_exports_version_becomes_champion_without_torch_and_rollback_returns(checkout):
    (run,) = checkout.runs()
    assert run.info.status == "FINISHED"
    assert len(run.outputs.model_outputs) == 2
    output = checkout.run("python", "-m", "stages.promote", "--onnx")
    assert output.endswith("version 2 of text-classifier is the champion (before: version 1)\n")
    assert "is the champion already" in checkout.run("python", "-m", "stages.promote", "--onnx", fails=True)
    served = mlflow.pyfunc.load_model("models:/text-classifier@champion")
    answers = served.predict(["I loved it.", "So dull."])
    printed = [line.split("\t")[:2] for line in predict(checkout, "--engine", "onnx").splitlines()]
    assert [[row.label, f"{row.probability:.4f}"] for row in answers.itertuples()] == printed
    requirements = Path(mlflow.pyfunc.get_model_dependencies("models:/text-classifier@champion")).read_text()
    assert {line.partition("==")[0] for line in requirements.splitlines()} == {
        "mlflow", "numpy", "onnxruntime", "safetensors", "tokenizers"
    }  # fmt: skip
    rolled = checkout.run("python", "-m", "stages.promote", "--rollback")
    assert rolled.endswith("version 1 of text-classifier is the champion (before: version 2)\n")


def test_int8_whose_labels_differ_is_refused_and_changes_nothing(finished, tmp_path):
    """Outliers in the weights leave int8 few digits, and a head that prefers no label makes labels hang on them."""
    copy = finished.copy(tmp_path / "checkout")
    weights = copy.folder / "models/classifier/model.safetensors"
    values = load_file(weights)
    values["classifier.weight"] = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 32)).astype(np.float32))
    for name, weight in values.items():
        if ".layer." in name and weight.dim() == 2:
            weight[:, 0] *= 1000
    save_file(values, weights, {"format": "pt"})
    rows = read_texts(copy.folder / "data/raw/validation.parquet")
    logits = predict_texts(Predictor(weights.parent, "fp32"), rows, "rows").logits
    values["classifier.bias"] -= torch.from_numpy(np.median(logits, axis=0))
    save_file(values, weights, {"format": "pt"})
    earlier = copy.folder / "models/onnx"
    earlier.mkdir()
    (earlier / "classifier.json").write_text("{}")
    output = copy.run("python", "-m", "stages.export", "--int8", fails=True)
    assert "error in export: int8 is not accepted: with none in fp32, " in output
    assert "Nothing was written; without --int8 it is fp32." in output
    assert (earlier / "classifier.json").read_text() == "{}"
    assert [path.name for path in (copy.folder / "models").glob("*onnx*")] == ["onnx"]


def test_int8_that_is_accepted_says_what_was_kept_in_fp32(finished, tmp_path):
    copy = finished.copy(tmp_path / "checkout")
    assert "models/onnx: int8, " in copy.run("python", "-m", "stages.export", "--int8")
    export = copy.json("models/onnx/classifier.json")["export"]
    assert export["agreement"]["equal_labels"] >= 0.99
    assert export["kept_in_fp32"] in KEPT_IN_FP32


def test_an_export_of_another_model_is_not_taken_for_that_of_this_one(checkout, tmp_path):
    classifier, exported = checkout.folder / "models/classifier", checkout.folder / "models/onnx"
    other = shutil.copytree(classifier, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"thresholds": [0.9]}))
    output = checkout.run("python", "-m", "stages.predict", "--engine", "onnx", "--model", str(other), "x", fails=True)
    assert "error in predict: models/onnx: is the export of another model than " in output
    assert find_export(other, exported, only_if_faster=True) == other
    assert find_export(classifier, tmp_path / "none", only_if_faster=True) == classifier


def test_an_export_that_is_named_answers_itself_and_torch_does_not(checkout):
    assert predict(checkout, "--model", "models/onnx", "--engine", "onnx") == predict(checkout, "--engine", "onnx")
    message = "--model: models/onnx is an export, which torch does not compute"
    for options in (("--engine", "torch"), ("--precision", "fp32")):
        command = ("python", "-m", "stages.predict", "--model", "models/onnx", *options, "x")
        assert message in checkout.run(*command, fails=True)
    options = ("--engine", "onnx", "--precision", "fp32", "x")
    assert "--precision needs torch" in checkout.run("python", "-m", "stages.predict", *options, fails=True)


def test_the_faster_of_both_answers_where_that_is_asked_for(checkout, tmp_path):
    classifier = checkout.folder / "models/classifier"
    exported = shutil.copytree(checkout.folder / "models/onnx", tmp_path / "onnx")
    content = checkout.json("models/onnx/classifier.json")
    for speed, processor, expected in ((2, None, exported), (0.5, None, classifier), (2, "another", classifier)):
        export = content["export"]
        speeds = {"torch, fp32": {"texts_per_second": 1}, "onnx": {"texts_per_second": speed}}
        changed = export | {"speed": speeds, "processor": processor or export["processor"]}
        (exported / "classifier.json").write_text(json.dumps(content | {"export": changed}))
        assert find_export(classifier, exported, only_if_faster=True) == expected


def test_without_a_model_or_data_the_export_is_one_message(finished, tmp_path):
    copy = finished.copy(tmp_path / "checkout")
    message = "error in export: nowhere: has no model (no config.json)"
    assert message in copy.run("python", "-m", "stages.export", "--model", "nowhere", fails=True)
    assert not (copy.folder / "models/onnx").exists()
    (copy.folder / "data/raw/validation.parquet").unlink()
    message = "error in export: data/raw/validation.parquet: cannot be read"
    assert message in copy.run("python", "-m", "stages.export", fails=True)


@pytest.mark.parametrize("name", ["models/classifier", "notes", "notes/mine.txt"])
def test_what_is_no_export_is_not_replaced_by_one(name, finished, tmp_path):
    copy = finished.copy(tmp_path / "checkout")
    (copy.folder / "notes").mkdir()
    (copy.folder / "notes/mine.txt").write_text("mine")
    output = copy.run("python", "-m", "stages.export", "--out", name, fails=True)
    assert f"error in export: --out: {name} is there, and is no export; remove it, or give a new folder." in output
    assert (copy.folder / "notes/mine.txt").read_text() == "mine"
    assert (copy.folder / "models/classifier/config.json").exists()


def test_an_export_waits_for_another_one(finished, tmp_path):
    copy = finished.copy(tmp_path / "checkout")
    command = [find_python(), "-m", "stages.export"]
    with FileLock(copy.folder / ".cache/export.lock"):
        second = subprocess.Popen(command, cwd=copy.folder, env=os.environ, text=True, stdout=subprocess.PIPE)
        assert second.stdout.readline() == "waiting for another export\n"
        assert not list((copy.folder / "models").glob("*onnx*"))
    assert "models/onnx: fp32, " in second.communicate()[0]
    assert second.returncode == 0


def test_an_export_is_of_the_model_that_was_there_when_it_began(finished, tmp_path):
    copy = finished.copy(tmp_path / "checkout")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(copy.run, "python", "-m", "stages.export")
        while not running.done() and not list((copy.folder / "models").glob(".onnx.*.part")):
            time.sleep(0.01)
        (copy.folder / "models/classifier/another").write_text("model")
        running.result()
    with pytest.raises(UserError, match="is the export of another model than"):
        find_export(copy.folder / "models/classifier", copy.folder / "models/onnx", only_if_faster=False)


def test_a_package_that_is_missing_is_one_message():
    check_installed()
    with pytest.raises(UserError, match="the export needs no_such_package, not installed here; `pip install"):
        check_installed(["onnx", "no_such_package"])
