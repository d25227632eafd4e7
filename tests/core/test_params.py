import re
import subprocess
import sys

import pytest
from support.project import ROOT, make_params

from stages.core.errors import UserError
from stages.core.params import Params, flatten


def test_the_params_of_the_project_are_valid():
    assert set(Params.load(ROOT / "params.yaml").flat()) >= {"seed", "train.freeze_layers", "tracking.experiment"}


def test_params_yaml_has_each_field_in_the_same_order_and_with_a_comment():
    pattern = r" *\w+: +[^\s#]|sweep:"
    lines = [line for line in (ROOT / "params.yaml").read_text().splitlines() if re.match(pattern, line)]
    assert [line.split(":")[0].strip() for line in lines] == [key.split(".")[-1] for key, _ in flatten(Params())]
    assert [line for line in lines if "  # " not in line] == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.freeze_layers", -1, r"train.freeze_layers: found -1; allowed: a whole number ≥ 0, or all"),
        ("train.freeze_layers", "some", r"train.freeze_layers: found 'some'"),
        ("train.learning_rate", "fast", r"train.learning_rate: found 'fast'; allowed: a number > 0"),
        ("train.learning_rate", float("nan"), r"train.learning_rate: found nan"),
        ("train.precision", "fp8", r"train.precision: found 'fp8'; allowed: one of auto, fp32, bf16, fp16"),
        ("train.per_device_train_batch_size", "8", r"train.per_device_train_batch_size: found '8'; allowed: a whole"),
        ("train.dataloader_pin_memory", 1, r"train.dataloader_pin_memory: found 1; allowed: true or false"),
        ("train.calibration", "platt", r"train.calibration: found 'platt'; allowed: one of none, temperature"),
        ("train.threshold", "precision", r"train.threshold: found 'precision'; allowed: max f1, precision >= P or rec"),
        ("train.threshold", "recall >= 1.5", r"train.threshold: found 'recall >= 1.5'; allowed: .* above 0 and up to"),
        ("train.threshold", 0.5, r"train.threshold: found 0.5; allowed: max f1"),
        ("seed", True, r"seed: found True"),
        ("data.sha256", "abc", r"data.sha256: found 'abc'; allowed: 64 hex digits"),
        ("data.source", "folder", r"data.path: missing; data.source 'folder' needs"),
        ("data.config", "plain", r"data.config: found 'plain'; data.source 'demo' has none, so null is allowed"),
        ("data.splits", {"dev": "x"}, r"data.splits: found 'dev'; allowed: a mapping \{train: name"),
        ("data.label_names", {1: 2}, r"data.label_names: found 2; allowed: a mapping"),
        ("data.encoding", "klingon", r"data.encoding: found 'klingon'; allowed: a text encoding that Python knows"),
        ("data.encoding", "rot13", r"data.encoding: found 'rot13'"),
        ("data.encoding", "undefined", r"data.encoding: found 'undefined'"),
        ("data.quotechar", ",", r"data.quotechar: found ','; must differ from data.delimiter"),
        ("data.text_pair_column", "b", r"data.text_pair_column: found 'b'; data.source 'demo' has none"),
        ("data.delimiter", "::", r"data.delimiter: found '::'; allowed: one character, or \\t for a tab"),
        ("data.delimiter", "\n", r"data.delimiter: found '\\n'; allowed: one character, or"),
        ("data.on_bad_rows", "skip", r"data.on_bad_rows: found 'skip'; allowed: one of error, drop"),
        ("data.on_leak", "drop", r"data.on_leak: found 'drop'; allowed: one of warn, drop_from_train, error"),
        ("data.on_missing_class", "drop", r"data.on_missing_class: found 'drop'; allowed: one of warn, error"),
        (
            "data.label_column",
            ["a"],
            r"data.label_column: found \['a'\]; allowed: .*, or a list of two or more columns",
        ),
        ("data.label_column", ["a", "b"], r"data.label_column: found .*; data.source 'demo' has no columns of labels"),
        ("data.label_column", [1, "1"], r"data.label_column: found '1' twice"),
        ("data.label_separator", "|", r"data.label_separator: found '\|'; data.source 'demo' has none, so null"),
        ("data.label_separator", "", r"data.label_separator: found ''; allowed: one character or more, \\t for a tab"),
        (
            "data.label_order",
            ["a"],
            r"data.label_order: found \['a'\]; allowed: a list of all labels, the lowest first",
        ),
        ("data.label_order", ["a", "b", "a"], r"data.label_order: found 'a' twice"),
        ("data.group_column", "a", r"data.group_column: found 'a'; data.source 'demo' has none, so null is allowed"),
        ("data.slice_columns", ["a"], r"data.slice_columns: found \['a'\]; data.source 'demo' has none, so null"),
        ("data.slice_columns", [*range(21)], r"data.slice_columns: found \[0, .*; allowed: a list of 1 to 20 columns"),
        ("model.tokenizer", "train", r"model.tokenizer: found 'train'; pretrained weights work only with their own"),
        ("model.scratch.num_attention_heads", 3, r"num_attention_heads: found 3; must divide .*hidden_size, 128"),
        ("model.scratch.hidden_sizes", 3, r"model.scratch.hidden_sizes: unknown key; did you mean hidden_size\?"),
        ("data.path", "reviews", r"data.path: found 'reviews'; data.source 'demo' has none"),
        ("train.eval_steps", 1.5, r"train.eval_steps: found 1.5; allowed: a share of all steps < 1, or a whole"),
        ("train", None, r"train: found None; allowed: a section of keys"),
        ("train.freeze_layer", 3, r"train.freeze_layer: unknown key; did you mean freeze_layers\?"),
        ("gate.min_accuracy", 90, r"gate.min_accuracy: found 90; allowed: a number from 0 to 1, or null"),
        ("gate.champion_confidence", 1, r"gate.champion_confidence: found 1; allowed: a number between 0 and 1"),
        ("gate.registered_model", "a/b", r"gate.registered_model: found 'a/b'; allowed: a name of letters"),
        ("gate.registered_model", "a" * 257, r"gate.registered_model: found .*, at most 256"),
        ("tracking.experiment", "", r"tracking.experiment: found ''; allowed: a name of at most 256 characters"),
        ("tracking.experiment", "a" * 257, r"tracking.experiment: found .*; allowed: a name of at most 256 characters"),
        ("gate.min_f2", 0.5, r"gate.min_f2: unknown key"),
        ("drift.alpha", 0, r"drift.alpha: found 0; allowed: a number between 0 and 1"),
        ("drift.max_auc", 0.4, r"drift.max_auc: found 0.4; allowed: a number from 0.5 to 1"),
        ("drift.permutations", 10, r"drift.permutations: found 10; drift.alpha 0.01 needs at least 99"),
        ("drift.max_rows", 49, r"drift.max_rows: found 49; allowed: a whole number ≥ 50"),
        (
            "gate.metrics",
            {"min_f1_mirco": 0.5},
            r"metrics.min_f1_mirco: unknown metric; did you mean min_f1_micro\?",
        ),
        ("gate.metrics", {"max_loss": True}, r"gate.metrics.max_loss: found True; allowed: a number"),
        ("gate.metrics", {1: 2}, r"gate.metrics.1: unknown metric; did you mean m"),
        ("data.label_order", [True, "true"], "data.label_order: found 'true' twice"),
        ("train.metric_for_best_model", "f1", r"train.metric_for_best_model: found 'f1'; allowed: one of accuracy, "),
        ("zzz", {}, r"zzz: unknown key; known: seed, data"),
    ],
)
def test_an_error_names_key_value_and_what_is_allowed(write_params, key, value, message):
    path = write_params({key: value})
    with pytest.raises(UserError, match=message):
        Params.load(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"label_column": ["a", "b"], "label_separator": "|"},
            r"label_separator: found '\|'; data.label_column is a list",
        ),
        (
            {"label_column": ["a", "b"], "label_order": ["a", "b"]},
            r"label_order: found .*; rows may have several labels",
        ),
        ({"slice_columns": ["a", "a "]}, r"data.slice_columns: found 'a' twice"),
        ({"label_separator": "|", "label_order": ["a", "b"]}, r"label_order: found .*; rows may have several labels"),
        (
            {"label_column": ["a", 3], "label_names": {"a": "A", "b": "B"}},
            r"data.label_names: has no name for 3, a column",
        ),
    ],
)
def test_keys_about_labels_that_do_not_go_together_are_an_error(write_params, values, message):
    path = write_params({"data.source": "csv", "data.path": "a.csv"} | {f"data.{k}": v for k, v in values.items()})
    with pytest.raises(UserError, match=message):
        Params.load(path)


def test_a_tab_between_labels_is_written_as_an_escape(params):
    assert params({"data.source": "csv", "data.path": "a", "data.label_separator": "\\t"}).data.label_separator == "\t"


def test_all_errors_are_in_one_report(write_params):
    path = write_params({"seed": -1, "data.source": "folder", "data.max_test_samples": 0, "train.weight_decay": "much"})
    found = r"4 errors\n  seed.*\n  data.path.*\n  data.max_test_samples.*\n  train.weight_decay"
    with pytest.raises(UserError, match=found):
        Params.load(path)


def test_the_error_names_a_missing_key(tmp_path):
    text = (ROOT / "params.yaml").read_text().replace("  freeze_layers:", "  # freeze_layers:")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"train.freeze_layers: missing; allowed"):
        Params.load(tmp_path / "params.yaml")


def test_missing_keys_are_listed_with_all_other_errors_and_their_defaults_are_not_used(tmp_path):
    values = make_params({"data.path": "a.csv", "model.scratch.vocab_size": 3})
    del values["data"]["source"], values["model"]["scratch"]["hidden_size"], values["cache"]
    found = (
        r"^params: 4 errors\n  data.source: missing; .*\n  model.scratch.hidden_size: missing; allowed: a whole .*\n"
        r"  model.scratch.vocab_size: found 3; .*\n  cache: missing; allowed: a section of keys$"
    )
    with pytest.raises(UserError, match=found):
        Params.check(values, "params")


@pytest.mark.parametrize("number", ["2e-5", "2E-05", "2.0e-5", "0.00002"])
def test_numbers_are_read_as_dvc_writes_them(tmp_path, number):
    text = re.sub(r"  learning_rate: \S+", f"  learning_rate: {number}", (ROOT / "params.yaml").read_text())
    (tmp_path / "params.yaml").write_text(text)
    assert Params.load(tmp_path / "params.yaml").train.learning_rate == 2e-5


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "cannot be read as YAML"), ("- a", "found a list"), ("", "found an empty file")]
)
def test_a_file_that_is_not_a_mapping_is_an_error(tmp_path, text, message):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        Params.load(tmp_path / "params.yaml")


def test_a_stage_ends_with_one_message_exit_code_1_and_no_output(write_params):
    folder = write_params({"seed": "x", "train.precision": 1}).parent
    result = subprocess.run(
        [sys.executable, "-m", "stages.download"], cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "error in stage download: params.yaml: 2 errors" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in folder.iterdir()] == ["params.yaml"]


def test_the_training_has_the_seed_of_all_or_its_own(params):
    assert params({"seed": 3}).train_seed == 3
    assert params({"seed": 3, "train.seed": 0}).train_seed == 0


def test_changed_params_of_train_are_checked(params):
    changed = params().change_train({"train.learning_rate": 1e-3, "train.num_train_epochs": 2})
    assert (changed.train.learning_rate, changed.train.num_train_epochs) == (1e-3, 2)
    with pytest.raises(ValueError, match="num_train_epochs"):
        params().change_train({"train.num_train_epochs": 0})


@pytest.mark.parametrize("key", ["label_column", "slice_columns"])
def test_a_list_of_columns_has_names_where_there_is_a_header(params, key):
    changes = {"data.source": "csv", "data.path": "x.csv", f"data.{key}": [3, 4]}
    with pytest.raises(UserError, match=rf"data.{key}: found 3; with data.header true give the columns' names"):
        params(changes)
    assert getattr(params(changes | {"data.header": False}).data, key) == [3, 4]
