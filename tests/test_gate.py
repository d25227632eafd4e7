"""The gate, promotion and rollback in a real checkout, with models that DVC and MLflow made."""

import csv
import json

import mlflow
import pytest
import yaml
from support.project import change

from stages.core.yaml_files import read_yaml

GATE = {
    "gate.min_accuracy": 0.8,
    "gate.min_recall_worst_class": 0.5,
    "gate.max_calibration_error": None,
    "gate.max_train_seconds": 3600,
    "gate.champion_confidence": 0.95,
}
RULES = [name.removeprefix("gate.") for name in GATE]
OFF = {"max_calibration_error": "off", "min_accuracy_worst_slice": "off"}
WORDS = {"good": ("fine", "great", "splendid"), "bad": ("poor", "dull", "dreadful")}


@pytest.fixture(scope="module")
def checkout(finished, tmp_path_factory):
    """With a task that the tiny model learns in seconds."""
    checkout = finished.copy(tmp_path_factory.mktemp("gate") / "checkout")
    with (checkout.folder / "rows.csv").open("w", newline="") as file:
        rows = [(f"{words[n % 3]} number {n}", label) for n in range(200) for label, words in WORDS.items()]
        csv.writer(file).writerows([("text", "label"), *rows])
    data = {"data.source": "csv", "data.path": "rows.csv", "data.test_fraction": 0.25, "data.max_test_samples": None}
    set_params(checkout, GATE | data | {"train.learning_rate": 3e-3, "train.num_train_epochs": 3})
    checkout.run("dvc", "repro")
    checkout.run("git", "add", "-A")
    checkout.run("git", "commit", "-qm", "easy task")
    yield checkout
    mlflow.set_tracking_uri(None)


def set_params(checkout, changes):
    path = checkout.folder / "params.yaml"
    path.write_text(yaml.safe_dump(change(read_yaml(path), changes), sort_keys=False))


def gate(checkout, fails=False):
    return checkout.run("python", "-m", "stages.gate", fails=fails)


def verdicts(output):
    """The last cell of each rule of the table."""
    rows = [[cell.strip() for cell in line.split("|")] for line in output.splitlines() if line.startswith("| ")]
    return {row[1]: row[4] for row in rows[2:]}


def aliases(checkout):
    checkout.runs()  # points MLflow at the store
    found = mlflow.MlflowClient().get_registered_model("text-classifier").aliases
    return {alias: str(version) for alias, version in found.items()}


def test_the_first_model_that_passes_becomes_challenger_and_is_promoted(checkout):
    output = gate(checkout)
    assert verdicts(output) == dict.fromkeys(RULES, "pass") | OFF
    assert "no champion yet" in output
    assert "passes: version 1 of text-classifier is the challenger" in gate(checkout)
    assert aliases(checkout) == {"challenger": "1"}
    promoted = checkout.run("python", "-m", "stages.promote")
    assert promoted.endswith("version 1 of text-classifier is the champion (the first)\n")
    assert aliases(checkout) == {"champion": "1"}
    version = mlflow.MlflowClient().get_model_version("text-classifier", "1")
    assert verdicts(version.description) == verdicts(output)
    answer = mlflow.pyfunc.load_model("models:/text-classifier@champion").predict(["splendid number 1"])
    assert list(answer["label"]) == ["good"]


def test_a_worse_experiment_fails_with_code_1_and_is_not_registered(checkout):
    checkout.run("dvc", "exp", "run", "-S", "train.learning_rate=1e-7", "-S", "tracking.log_model=false")
    output = gate(checkout, fails=True)
    assert {rule for rule, verdict in verdicts(output).items() if verdict == "fail"} >= {
        "min_accuracy", "champion_confidence"
    }  # fmt: skip
    assert "error in gate: the model fails min_accuracy, " in output
    assert aliases(checkout) == {"champion": "1"}
    assert "has no challenger (champion: 1)" in checkout.run("python", "-m", "stages.promote", fails=True)


def test_a_better_experiment_passes_and_rollback_returns_to_the_champion_before(checkout):
    changes = ("train.learning_rate=3e-3", "train.num_train_epochs=4", "tracking.log_model=true")
    checkout.run("dvc", "exp", "run", *(word for change in changes for word in ("-S", change)))
    output = gate(checkout)
    assert " against version 1 " in output
    assert verdicts(output)["champion_confidence"] == "pass"
    checkout.run("python", "-m", "stages.promote")
    assert aliases(checkout) == {"champion": "2"}
    assert "passes: version 2 of text-classifier is the champion" in gate(checkout)
    returned = checkout.run("python", "-m", "stages.promote", "--rollback")
    assert returned.endswith("version 1 of text-classifier is the champion (before: version 2)\n")
    assert aliases(checkout) == {"champion": "1"}
    assert "so none to return to" in checkout.run("python", "-m", "stages.promote", "--rollback", fails=True)


def test_a_metric_that_is_missing_fails(checkout):
    path = checkout.folder / "metrics/evaluate.json"
    complete = path.read_text()
    metrics = {name: value for name, value in json.loads(complete).items() if name != "recall_worst_class"}
    path.write_text(json.dumps(metrics))
    output = gate(checkout, fails=True)
    assert verdicts(output)["min_recall_worst_class"] == "fail"
    assert "error in gate: the model fails min_recall_worst_class." in output
    path.write_text(complete)


def test_any_metric_of_the_test_can_have_a_limit(checkout):
    metrics = checkout.json("metrics/evaluate.json")
    limits = {"min_roc_auc": metrics["roc_auc"], "max_loss": metrics["loss"] / 2, "min_f1_micro": 0.1}
    set_params(checkout, {"gate.metrics": limits})
    output = gate(checkout, fails=True)
    assert {rule: verdicts(output)[rule] for rule in limits} == {
        "min_roc_auc": "pass", "max_loss": "fail", "min_f1_micro": "fail"
    }  # fmt: skip
    assert "error in gate: the model fails max_loss, min_f1_micro." in output
    set_params(checkout, {"gate.metrics": None})


def test_results_of_another_model_are_refused(checkout):
    path = checkout.folder / "metrics/evaluate.json"
    complete = path.read_text()
    path.write_text(json.dumps(json.loads(complete) | {"accuracy": 0.99}))
    output = gate(checkout, fails=True)
    assert "error in gate: MLflow has no finished run of the model in models/classifier" in output
    path.write_text(complete)


def test_other_test_rows_than_the_champions_fail_until_one_model_passes_without_comparison(checkout):
    """The labels are the same, the texts are not."""
    set_params(checkout, {"train.num_train_epochs": 5})
    text = (checkout.folder / "rows.csv").read_text()
    (checkout.folder / "rows.csv").write_text(text.replace(" number ", " no. "))
    checkout.run("dvc", "repro")
    output = gate(checkout, fails=True)
    assert "version 1 was measured on other test rows" in output
    assert "error in gate: the model fails champion_confidence. The test rows are not those of the champion" in output
    set_params(checkout, {"gate.champion_confidence": None})
    assert verdicts(gate(checkout))["champion_confidence"] == "off"
    checkout.run("python", "-m", "stages.promote")
    set_params(checkout, {"gate.champion_confidence": 0.95})
    assert verdicts(gate(checkout))["champion_confidence"] == "pass"


def test_a_server_that_is_down_is_one_message_and_code_1(checkout):
    down = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    message = ": MLflow at http://127.0.0.1:9: it cannot be reached, ConnectionError"
    output = checkout.run("python", "-m", "stages.gate", fails=True, **down)
    assert output.strip() == f"error in gate{message}"
    assert f"error in promote{message}" in checkout.run("python", "-m", "stages.promote", fails=True, **down)


def test_help_and_an_unknown_option_judge_nothing(checkout):
    assert "usage: python -m stages.gate" in checkout.run("python", "-m", "stages.gate", "--help")
    assert "unrecognized arguments: --min-accuracy" in checkout.run(
        "python", "-m", "stages.gate", "--min-accuracy", fails=True
    )
