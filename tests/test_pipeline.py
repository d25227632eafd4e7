"""The real pipeline, run by DVC in a copy of the repository: a few hundred demo rows and a tiny random model."""

import csv
import json
import re
import shutil

import mlflow
import pandas as pd
import pytest
import yaml
from datasets import ClassLabel, Dataset, Features, Value
from support import hub

from stages.inference.predictor import Predictor
from stages.report.tables import DECIMALS


@pytest.fixture(scope="module")
def checkout(experimented, tmp_path_factory):
    """After `dvc repro` and `dvc exp run -S train.freeze_layers=1`."""
    checkout = experimented.copy(tmp_path_factory.mktemp("pipeline") / "checkout")
    checkout.first = json.loads(checkout.run("git", "show", "HEAD:metrics/train.json"))
    yield checkout
    mlflow.set_tracking_uri(None)


def test_a_second_repro_runs_nothing(checkout):
    output = checkout.run("dvc", "repro")
    assert output.count("didn't change, skipping") == 5
    assert "Running stage" not in output


def test_a_changed_word_in_a_template_evaluates_again_and_does_not_train(checkout):
    for name, word in (("report.html", "Calibration"), ("model_card.md", "Limits")):
        template = checkout.folder / "stages/report/templates" / name
        original = template.read_text()
        template.write_text(original.replace(word, f"{word}!"))
        assert list(json.loads(checkout.run("dvc", "status", "--json"))) == ["evaluate"]
        template.write_text(original)


def test_a_change_of_what_decides_the_weights_trains_again(checkout):
    trainer = checkout.folder / "stages/training/trainer.py"
    original = trainer.read_text()
    trainer.write_text(f"{original}\n# changed\n")
    assert "train" in json.loads(checkout.run("dvc", "status", "--json"))
    trainer.write_text(original)


def test_metrics_have_the_promised_keys(checkout):
    keys = {"accuracy", "precision_macro", "recall_macro", "f1_macro", "loss", "rows"}
    keys |= {"recall_worst_class", "calibration_error"}
    assert set(checkout.json("metrics/evaluate.json")) >= keys
    assert checkout.json("metrics/evaluate.json")["rows"] == 100
    assert checkout.json("metrics/train.json")["total_parameters"] > 10_000
    assert checkout.json("metrics/test.json") == {
        name: checkout.json("metrics/evaluate.json")[name]
        for name in ("accuracy", "f1_macro", "loss", "recall_worst_class", "calibration_error", "rows")
    }


def test_data_and_model_are_where_they_should_be(checkout):
    statistics = checkout.json("data/statistics.json")
    assert {split: values["rows"] for split, values in statistics["splits"].items()} == {
        "train": 200, "validation": 500, "test": 100
    }  # fmt: skip
    config = checkout.json("models/classifier/config.json")
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    names = {path.name for path in (checkout.folder / "models/classifier").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def test_curves_confusion_and_mistakes_are_tables(checkout):
    for path, count in (("plots/training.csv", 2), ("plots/validation.csv", 2), ("plots/confusion.csv", 100)):
        with (checkout.folder / path).open(newline="") as file:
            assert len(list(csv.DictReader(file))) == count, path
    accuracy = checkout.json("metrics/evaluate.json")["accuracy"]
    assert f"Test accuracy {accuracy:.3f}" in (checkout.folder / "reports/report.html").read_text()
    with (checkout.folder / "reports/mistakes.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == min(50, round(100 * (1 - accuracy)))


def test_dvc_shows_both_experiments_with_their_metrics(checkout):
    rows = list(csv.DictReader(checkout.run("dvc", "exp", "show", "--csv").splitlines()))
    shown = {row["train.freeze_layers"]: row for row in rows}
    assert int(shown["0"]["trainable_parameters"]) > int(shown["1"]["trainable_parameters"])
    assert float(shown["1"]["train_seconds"]) > 0
    assert 0 <= float(shown["1"]["accuracy"]) <= 1
    compared = checkout.run("make", "--silent", "--assume-old", ".venv/.installed", "compare")
    (head,) = (line.split() for line in compared.splitlines() if "Experiment" in line)
    assert set(head) == {"Experiment", "train_seconds", "accuracy", "train.freeze_layers"}
    checkout.run("dvc", "plots", "show")
    page = (checkout.folder / "dvc_plots/index.html").read_text()
    assert all(
        title in page
        for title in ("Loss", "Validation", "Learning rate", "Confusion matrix (test)", "Seconds by stage")
    )


def test_freezing_leaves_less_to_train(checkout):
    frozen = checkout.json("metrics/train.json")
    assert frozen["trainable_parameters"] < checkout.first["trainable_parameters"] == frozen["total_parameters"]


def test_an_experiment_that_changes_only_what_comes_after_finds_the_frozen_outputs(checkout):
    changes = ("-S", "train.freeze_layers=1", "-S", "train.learning_rate=5e-4", "-S", "tracking.log_model=false")
    output = checkout.run("dvc", "exp", "run", "--temp", *changes)
    for split in ("train", "validation", "test"):
        found = re.search(rf"layers for {split}: ([\d,]+) rows found and 0 computed, in (\S+) ", output)
        assert found
        assert found[2] == f"{checkout.folder}/.cache/frozen"
    first, again = checkout.runs()[1:3]
    assert again.data.metrics["features/train_rows_computed"] == 0 < first.data.metrics["features/train_rows_computed"]
    assert again.data.metrics["features/train_rows_found"] == 200
    assert first.data.metrics["features/test_bytes"] == again.data.metrics["features/test_bytes"] > 0


def test_the_whole_model_reaches_what_its_halves_reach(checkout):
    checkout.run("dvc", "exp", "run", "--temp", "-S", "evaluate.full_model=true")
    halves, whole = checkout.runs()[1].data, checkout.runs()[-1].data
    assert (halves.params["evaluate.full_model"], whole.params["evaluate.full_model"]) == ("False", "True")
    assert "features/test_rows_found" not in whole.metrics
    assert whole.metrics["test/loss"] == pytest.approx(halves.metrics["test/loss"], rel=0.02)
    assert whole.metrics["test/accuracy"] == pytest.approx(halves.metrics["test/accuracy"], abs=0.03)


def test_each_pipeline_run_is_one_finished_mlflow_run(checkout):
    first, second = checkout.runs()[:2]
    assert [run.info.status for run in (first, second)] == ["FINISHED", "FINISHED"]
    assert [run.data.params["train.freeze_layers"] for run in (first, second)] == ["0", "1"]
    for run in (first, second):
        groups = {name.split("/")[0] for name in run.data.metrics}
        features = {"features"} if run is second else set()
        assert groups == {"data", "train", "validation", "test", "time", "system"} | features
        assert {
            f"time/{stage}_seconds" for stage in ("download", "base_model", "preprocess", "train", "evaluate")
        } < set(run.data.metrics)
        assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["train", "validation", "test"]


def test_tags_lead_from_mlflow_to_git_and_dvc(checkout):
    first, second = checkout.runs()[:2]
    head = checkout.run("git", "rev-parse", "HEAD").strip()
    statistics = checkout.json("data/statistics.json")
    assert first.data.tags["git.dirty"] == "false"
    assert second.data.tags["git.commit"] == second.data.tags["dvc.exp_baseline_rev"] == head
    assert second.data.tags["dvc.exp_name"] == second.info.run_name
    assert second.info.run_name in checkout.run("dvc", "exp", "list", "--name-only")
    for name in ("raw_sha256", "tokenized_sha256"):
        assert first.data.tags[f"data.{name}"] == second.data.tags[f"data.{name}"] == statistics[name]


def test_artifacts_and_model_are_with_the_run(checkout):
    run = checkout.runs()[1]
    artifacts = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert {"params.yaml", "dvc.lock", "plots", "reports"} <= artifacts
    (logged,) = (mlflow.get_logged_model(output.model_id) for output in run.outputs.model_outputs)
    tested = {metric.key: metric.dataset_name for metric in logged.metrics if metric.key.startswith("test/")}
    assert tested == {name: "test" for name in run.data.metrics if name.startswith("test/")}
    model = mlflow.pyfunc.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
    answer = model.predict(["I loved it.", "dull " * 500])
    assert len(answer) == 2
    assert set(answer["label"]) <= {"negative", "positive"}
    assert model.metadata.signature.inputs is not None
    assert model.input_example is not None


def test_long_texts_in_windows_are_measured_and_answered_as_a_whole(checkout):
    changes = ["preprocess.max_length=16", "preprocess.stride=4", "tracking.log_model=false"]
    checkout.run("dvc", "exp", "run", *(part for change in changes for part in ("-S", change)))
    split = checkout.json("data/statistics.json")["splits"]["test"]
    assert split["windows"] > split["rows"] == 100 == checkout.json("metrics/evaluate.json")["rows"]
    test = pd.read_parquet(checkout.folder / "data/raw/test.parquet", columns=["text"])
    test.to_csv(checkout.folder / "test.csv", index=False)
    checkout.run("python", "-m", "stages.predict", "--csv", "test.csv", "--out", "answers.csv")
    answers, measured = (pd.read_csv(checkout.folder / path) for path in ("answers.csv", "reports/predictions.csv"))
    assert answers["label"].tolist() == measured["predicted"].tolist()
    assert answers["probability"].tolist() == measured["confidence"].round(4).tolist()
    predictor = Predictor(checkout.folder / "models/classifier")
    for row in (0, 7, 99):  # alone
        (answer,) = predictor.predict([test["text"][row]], ["text"])
        assert (answer.label, round(answer.probability, DECIMALS)) == tuple(
            measured.loc[row, ["predicted", "confidence"]]
        )


def test_a_failing_run_is_failed_and_leaves_one_message(checkout):
    before = len(checkout.runs())
    output = checkout.run("dvc", "exp", "run", "--temp", "-S", "train.freeze_layers=9", fails=True)
    assert "train.freeze_layers: found 9; this model has 2 layers" in output
    assert "Traceback" not in output
    assert len(checkout.runs()) == before  # found before anything was started


def test_a_local_source_is_found_from_a_copy_and_watched(checkout):
    folder = checkout.folder / "reviews"
    for split in ("train", "test"):
        for label in ("bad", "good"):
            (folder / split / label).mkdir(parents=True)
            for number in range(20):
                (folder / split / label / f"{number}.txt").write_text(f"text {number} of {split} is {label}")
    changes = ["-S", "data.source=folder", "-S", "data.path=reviews", "-S", "data.max_train_samples=null"]
    assert "Running stage 'download'" in checkout.run("dvc", "exp", "run", "--temp", *changes, "download")
    checkout.run("dvc", "exp", "run", *changes, "preprocess")
    assert "Running stage" not in checkout.run("dvc", "repro", "preprocess")
    (folder / "train/good/more.txt").write_text("one more good text")
    assert "Running stage 'download'" in checkout.run("dvc", "repro", "download")
    assert sum(split["rows"] for split in checkout.json("data/raw/dataset.json")["splits"].values()) == 81


def test_a_local_model_is_found_from_a_copy_and_watched(checkout, tiny_model):
    shutil.copytree(tiny_model, checkout.folder / "mine")
    change = ("-S", "model.name=mine")
    assert "Running stage 'base_model'" in checkout.run("dvc", "exp", "run", "--temp", *change, "base_model")
    checkout.run("dvc", "exp", "run", *change, "base_model")
    assert "Running stage" not in checkout.run("dvc", "repro", "base_model")
    config = checkout.json("mine/config.json")
    (checkout.folder / "mine/config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.3}))
    assert "base_model" in checkout.run("dvc", "status", "base_model")
    assert "Running stage 'base_model'" in checkout.run("dvc", "repro", "base_model")
    assert checkout.json("models/base/config.json")["hidden_dropout_prob"] == 0.3


def test_data_and_model_of_a_hub_go_through_the_whole_pipeline(checkout, tiny_model, tmp_path):
    features = Features(review=Value("string"), title=Value("string"), sentiment=ClassLabel(names=["neg", "pos"]))
    for split, count in (("train", 200), ("test", 60), ("unsupervised", 30)):
        label = -1 if split == "unsupervised" else None
        columns = {
            "review": [f"{split} {number} is {'good' if number % 2 else 'dull'}" for number in range(count)],
            "title": [f"about {number % 7}" for number in range(count)],
            "sentiment": [number % 2 if label is None else label for number in range(count)],
        }
        Dataset.from_dict(columns, features).to_parquet(tmp_path / f"plain/{split}-00000-of-00001.parquet")
    files = [{"split": split, "path": f"plain/{split}-*"} for split in ("train", "test", "unsupervised")]
    card = yaml.safe_dump({"configs": [{"config_name": "plain", "data_files": files}]})
    (tmp_path / "README.md").write_text(f"---\n{card}---\n")
    changes = {
        "data.source": "hub", "data.path": "someone/reviews", "data.revision": hub.COMMIT, "data.text_column": "review",
        "data.text_pair_column": "title", "data.label_column": "sentiment", "data.max_train_samples": 100,
        "preprocess.stride": "null", "model.name": "someone/tiny", "model.revision": hub.COMMIT,
        "train.num_train_epochs": 1, "tracking.log_model": "true",
    }  # fmt: skip
    arguments = [part for key, value in changes.items() for part in ("-S", f"{key}={value}")]
    with hub.serve(models={"someone/tiny": tiny_model}, datasets={"someone/reviews": tmp_path}) as (url, asked):
        checkout.run("dvc", "exp", "run", *arguments, HF_ENDPOINT=url, HF_HOME=str(tmp_path / "home"))
    assert any("plain/train-00000-of-00001.parquet" in path for path in asked)
    assert any("model.safetensors" in path for path in asked)
    manifest = checkout.json("data/raw/dataset.json")
    assert manifest["labels"] == ["neg", "pos"]
    assert manifest["source"]["revision"] == hub.COMMIT
    assert manifest["ignored"] == {"unsupervised": 30}
    assert checkout.json("metrics/evaluate.json")["rows"] == 60
    assert checkout.json("models/classifier/config.json")["id2label"] == {"0": "neg", "1": "pos"}
    run = checkout.runs()[-1]
    assert run.data.params["data.path"] == "someone/reviews"
    served = mlflow.pyfunc.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
    assert served.predict([{"text": "good", "text_pair": "about 3"}])["label"][0] in ("neg", "pos")


def test_chinese_text_and_a_model_from_scratch_with_its_own_tokenizer(checkout):
    (checkout.folder / "chinese").mkdir()
    for name, count in (("train", 120), ("dev", 40)):
        rows = [f"房间{'很好' if number % 2 else '太小'}，第{number}次\t{number % 2}\n" for number in range(count)]
        (checkout.folder / f"chinese/{name}.tsv").write_text("".join([*rows, "\t1\n"]), encoding="utf-8")
    changes = {
        "data.source": "csv", "data.path": "chinese", "data.revision": "null", "data.text_pair_column": "null",
        "data.splits": "{test: dev}", "data.header": "false", "data.delimiter": "'\\t'", "data.quotechar": "null",
        "data.text_column": 0,
        "data.label_column": 1, "data.label_names": "{0: '差', 1: '好'}", "data.on_bad_rows": "drop",
        "data.max_train_samples": "null", "data.max_test_samples": "null", "model.pretrained": "false",
        "model.tokenizer": "train", "model.scratch.hidden_size": 16, "model.dropout": 0.2, "train.num_train_epochs": 1,
        "tracking.log_model": "true", "evaluate.precision": "fp32",
    }  # fmt: skip
    checkout.run("dvc", "exp", "run", *(part for key, value in changes.items() for part in ("-S", f"{key}={value}")))
    assert checkout.json("models/classifier/config.json")["id2label"] == {"0": "差", "1": "好"}
    assert checkout.json("models/classifier/config.json")["classifier_dropout"] == 0.2
    assert checkout.json("data/statistics.json")["dropped"] == {"train": {"empty text": 1}, "test": {"empty text": 1}}
    assert checkout.json("metrics/evaluate.json")["rows"] == 40
    run = checkout.runs()[-1]
    assert run.data.metrics["data/dropped/empty text"] == 2
    assert sum(run.data.metrics[f"data/leaks/{split}_and_test"] for split in ("train", "validation")) == 40
    assert run.data.params["data.label_names"] == "{0: '差', 1: '好'}"
    assert run.data.params["data.path"] == "chinese"
    served = mlflow.pyfunc.load_model(f"models:/{run.outputs.model_outputs[0].model_id}")
    assert served.predict(["房间很好"])["label"][0] in ("差", "好")
    assert served.model_config["precision"] == "fp32"  # as it was evaluated
    assert "didn't change, skipping" in checkout.run("dvc", "repro", "download")
