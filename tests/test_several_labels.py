"""The real pipeline on texts with several labels, in groups and slices: from the file to the answers."""

import csv
import json
import random

import mlflow
import pytest
import yaml
from support.project import change

from stages.core.yaml_files import read_yaml

WORDS = {"billing": "the invoice is wrong", "bug": "the app crashes", "praise": "thank you all"}
CHANGES = {
    "data.source": "csv",
    "data.path": "tickets.csv",
    "data.label_separator": ";",
    "data.group_column": "customer",
    "data.slice_columns": ["channel"],
    "data.max_train_samples": None,
    "data.max_test_samples": None,
    "train.metric_for_best_model": "f1_micro",
    "train.calibration": "temperature",
    "train.threshold": "max f1",
    "gate.min_accuracy": None,
    "gate.metrics": {"min_f1_micro": 1.0},
}


def write_tickets(path):
    """300 tickets of 60 customers; the labels are in the words, and a text may have none."""
    rng = random.Random(0)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label", "customer", "channel"])
        for number in range(300):
            labels = [label for label in WORDS if rng.random() < 0.4]
            text = ". ".join([f"number {number}", *(WORDS[label] for label in labels)])
            table.writerow([text, ";".join(labels), f"customer {number // 5}", rng.choice(["mail", "chat"])])


@pytest.fixture(scope="module")
def checkout(finished, tmp_path_factory):
    checkout = finished.copy(tmp_path_factory.mktemp("several") / "checkout")
    write_tickets(checkout.folder / "tickets.csv")
    path = checkout.folder / "params.yaml"
    path.write_text(yaml.safe_dump(change(read_yaml(path), CHANGES), sort_keys=False))
    checkout.run("dvc", "repro")
    yield checkout
    mlflow.set_tracking_uri(None)


def read_table(checkout, path):
    with (checkout.folder / path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_rows_of_a_group_are_in_one_split(checkout):
    leaks = checkout.json("data/statistics.json")["leaks"]
    assert {name: count for name, count in leaks.items() if name.endswith("_groups")} == {
        "train_and_validation_groups": 0, "train_and_test_groups": 0, "validation_and_test_groups": 0
    }  # fmt: skip
    rows = {split: values["rows"] for split, values in checkout.json("data/statistics.json")["splits"].items()}
    assert sum(rows.values()) == 300
    assert all(count % 5 == 0 for count in rows.values())


def test_the_metrics_are_those_of_the_predicted_sets_of_labels(checkout):
    metrics, rows = checkout.json("metrics/evaluate.json"), read_table(checkout, "reports/predictions.csv")
    assert metrics["accuracy"] == sum(row["actual"] == row["predicted"] for row in rows) / len(rows)
    pairs = [(set(row["actual"].split("|")) - {""}, set(row["predicted"].split("|")) - {""}) for row in rows]
    hits, size = sum(len(one & other) for one, other in pairs), sum(len(one) + len(other) for one, other in pairs)
    assert metrics["f1_micro"] == pytest.approx(2 * hits / size)
    assert {"hamming_loss", "f1_samples", "average_precision"} <= set(metrics)
    assert checkout.json("metrics/test.json")["f1_micro"] == metrics["f1_micro"]


def test_report_and_tables_show_labels_slices_and_thresholds(checkout):
    report = (checkout.folder / "reports/report.html").read_text()
    for words in ("F1 (micro)", "Thresholds of the labels", "By slice", "was fitted on validation"):
        assert words in report
    assert {row["label"] for row in read_table(checkout, "reports/by_class.csv")} == set(WORDS)
    slices = read_table(checkout, "reports/by_slice.csv")
    assert {(row["column"], row["value"]) for row in slices} == {("channel", "chat"), ("channel", "mail")}
    assert sum(int(row["rows"]) for row in slices) == checkout.json("metrics/evaluate.json")["rows"]


def test_the_run_has_all_metrics_and_the_params(checkout):
    run = checkout.runs()[-1]
    metrics = checkout.json("metrics/evaluate.json")
    assert {name: run.data.metrics[f"test/{name}"] for name in metrics} == pytest.approx(metrics)
    assert run.data.params["train.threshold"] == "max f1"


def test_a_limit_of_any_metric_fails_the_gate(checkout):
    output = checkout.run("python", "-m", "stages.gate", fails=True)
    assert "the model fails min_f1_micro." in output


def test_predict_gives_the_labels_that_reach_their_thresholds(checkout):
    output = checkout.run("python", "-m", "stages.predict", "--scores", *WORDS.values())
    thresholds = checkout.json("models/classifier/config.json")["thresholds"]
    for line in output.strip().splitlines()[-3:]:
        label, probability, *scores = line.split("\t")
        values = dict(score.rsplit("=", 1) for score in scores)
        assert list(values) == sorted(WORDS)
        given = [name for name, limit in zip(values, thresholds, strict=True) if float(values[name]) >= limit]
        assert label.split("|") == (given or [""])
        assert probability.split("|") == ([values[name] for name in given] or [""])


def test_plain_transformers_gives_the_calibrated_probabilities(checkout):
    code = (
        "import json, transformers; "
        "classify = transformers.pipeline('text-classification', 'models/classifier', truncation=True, "
        "function_to_apply='sigmoid', top_k=None); "
        f"print(json.dumps({{one['label']: one['score'] for one in classify([{WORDS['bug']!r}])[0]}}))"
    )
    plain = json.loads(checkout.run("python", "-c", code).strip().splitlines()[-1])
    output = checkout.run("python", "-m", "stages.predict", "--precision", "fp32", "--scores", WORDS["bug"])
    own = dict(score.rsplit("=", 1) for score in output.strip().splitlines()[-1].split("\t")[2:])
    assert {name: float(score) for name, score in own.items()} == pytest.approx(plain, abs=1e-3)


def test_preview_shows_the_labels_of_a_row(checkout):
    output = checkout.run("python", "-m", "stages.preview", "--split", "train", "--rows", "40", "--seed", "1")
    assert "billing|bug" in output


def test_label_issues_suggest_sets_of_labels_and_keep_groups_together(checkout):
    output = checkout.run("python", "-m", "stages.label_issues", "--folds", "2")
    assert "labels are probably wrong" in output
    for row in read_table(checkout, "reports/label_issues.csv"):
        assert row["given"] != row["suggested"]
        assert set(row["suggested"].split("|")) - {""} <= set(WORDS)
