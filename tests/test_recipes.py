"""Recipes: each names what differs from the defaults; `stages.recipe` writes that into params.yaml."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import ROOT

from stages import recipe
from stages.core.errors import UserError
from stages.core.params import Params, flatten
from stages.core.yaml_files import read_yaml

RECIPES = sorted(path.stem for path in (ROOT / "recipes").iterdir())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the recipes, and with params.yaml as the defaults and its comments."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    apply("default")
    return tmp_path


def apply(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["recipe", name])
        recipe.main()


def load_recipe(name):
    """The params of a recipe after the full check."""
    path = ROOT / f"recipes/{name}.yaml"
    return Params.check(read_yaml(path), str(path), complete=False)


def write_recipe(folder, text):
    (folder / "recipes/mine.yaml").write_text(text)


def read_comments(text):
    return re.findall(r"(?<= )# .*|^#.*", text, re.MULTILINE)


def test_the_nine_known_experiments_have_a_recipe():
    known = {
        "chinese-head", "ci", "imdb-bert-last4", "imdb-full", "imdb-minilm", "imdb-quick", "imdb-scratch", "yelp-full",
        "yelp-quick",
    }  # fmt: skip
    assert known <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_pins_what_it_takes_from_elsewhere(name):
    params = load_recipe(name)
    assert (params.data.source == "demo") == (name == "ci")
    if params.data.source == "hub":
        assert re.fullmatch("[0-9a-f]{40}", params.data.revision)
    if (params.data.path or "").startswith("http"):
        assert params.data.sha256
    if params.model.tokenizer != "train":
        assert re.fullmatch("[0-9a-f]{40}", params.model.revision)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_repeats_and_what_was_reached(name):
    head, _, keys = (ROOT / f"recipes/{name}.yaml").read_text().partition("\n\n")
    assert f"make repro RECIPE={name}" in head
    assert "Repeats" in head or "New" in head
    assert ("Not run here" in head) != ("Reached here" in head)
    assert all(line.startswith("#") for line in head.splitlines())
    assert "#" not in keys


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_names_less_than_half_of_the_keys(name):
    keys = re.findall(r": \S", (ROOT / f"recipes/{name}.yaml").read_text().partition("\n\n")[2])
    assert 0 < len(keys) < len(list(flatten(load_recipe(name)))) / 2


def test_the_settings_are_those_of_the_experiments():
    recipes = {name: load_recipe(name) for name in RECIPES}
    settings = {
        name: (params.train.freeze_layers, params.preprocess.max_length, params.train.per_device_train_batch_size,
               params.train.num_train_epochs)
        for name, params in recipes.items()
    }  # fmt: skip
    assert settings["imdb-quick"] == (5, 128, 32, 2)
    assert settings["imdb-full"] == (2, 256, 16, 4)
    assert settings["imdb-bert-last4"][:2] == (8, 512)
    assert settings["yelp-quick"][2:] == (16, 3)
    assert settings["yelp-full"][2] * recipes["yelp-full"].train.gradient_accumulation_steps == 24
    assert settings["chinese-head"][0] == "all"
    assert recipes["imdb-scratch"].model.scratch.model_dump(exclude={"hidden_dropout_prob"}) == {
        "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256,
        "vocab_size": 30522, "max_position_embeddings": 512,
    }  # fmt: skip


def test_recipes_one_after_the_other_do_not_mix(folder):
    for name in [*RECIPES, *reversed(RECIPES)]:
        apply(name)
        assert Params.load() == load_recipe(name)


def test_default_is_a_recipe_without_a_file(folder):
    assert not (folder / "recipes/default.yaml").exists()
    apply("imdb-scratch")
    apply("default")
    assert Params.load() == Params()


def test_a_recipe_replaces_what_the_user_changed_and_saves_it(folder):
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("strip_html: true", "strip_html: false"))
    mine = path.read_text()
    apply("ci")
    assert Params.load() == load_recipe("ci")
    assert (folder / "params.yaml.bak").read_text() == mine


def test_the_changed_keys_are_printed_and_only_their_lines_change(folder, capsys):
    before = (folder / "params.yaml").read_text().splitlines()
    capsys.readouterr()
    apply("ci")
    after = (folder / "params.yaml").read_text().splitlines()
    changed = [line.strip().split(":")[0] for line, old in zip(after, before, strict=True) if line != old]
    assert changed == [
        "max_train_samples", "max_test_samples", "num_train_epochs", "experiment", "max_train_seconds",
        "registered_model",
    ]  # fmt: skip
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  data.max_train_samples: null → 2000",
        "  data.max_test_samples: null → 500",
        "  train.num_train_epochs: auto → 2",
        "  tracking.experiment: text-classifier → text-classifier-ci",
        "  gate.max_train_seconds: 600 → null",
        "  gate.registered_model: text-classifier → text-classifier-ci",
    ]


def test_a_recipe_that_is_applied_again_changes_nothing(folder, capsys):
    apply("imdb-scratch")
    path = folder / "params.yaml"
    (folder / "params.yaml.bak").unlink()
    before = path.read_text(), path.stat().st_mtime_ns
    capsys.readouterr()
    apply("imdb-scratch")
    assert (path.read_text(), path.stat().st_mtime_ns) == before
    assert capsys.readouterr().out == "params.yaml already has the values of the recipe imdb-scratch.\n"
    assert not (folder / "params.yaml.bak").exists()


def test_comments_stay_on_their_lines_and_the_default_recipe_brings_all_bytes_back(folder):
    before = (folder / "params.yaml").read_text()
    assert len(read_comments(before)) > 60
    for name in RECIPES:
        apply(name)
        assert read_comments((folder / "params.yaml").read_text()) == read_comments(before)
    apply("default")
    assert (folder / "params.yaml").read_text() == before


def test_mappings_and_strings_in_quotes_are_written_on_their_line(folder, capsys):
    before = (folder / "params.yaml").read_text()
    text = """
data:
  source: csv
  path: reviews.csv
  splits: {train: a.csv, test: b.csv}
  label_names:
    1: negative  # one star
    2: "no: positive"
  slice_columns:
  - channel  # by mail or on the web
  - language
  delimiter: "\\t"
  quotechar: null
"""
    write_recipe(folder, text)
    apply("mine")
    text = (folder / "params.yaml").read_text()
    assert '\n  label_names: {1: negative, 2: "no: positive"} # {1: negative' in text
    assert "\n  splits: {train: a.csv, test: b.csv} # {train: name" in text
    assert "\n  slice_columns: [channel, language]  # [channel" in text
    assert '\n  delimiter: "\\t"                     # csv' in text
    assert 'data.label_names: null → {1: negative, 2: "no: positive"}' in capsys.readouterr().out
    assert Params.load().data.label_names == {1: "negative", 2: "no: positive"}
    assert Params.load().data.delimiter == "\t"
    assert len(text.splitlines()) == len(before.splitlines())
    apply("default")
    assert (folder / "params.yaml").read_text() == before


def test_a_mapping_of_a_recipe_is_not_mixed_with_the_one_before(folder):
    write_recipe(folder, "data:\n  label_names: {a: one, b: two}\n")
    apply("mine")
    write_recipe(folder, "data:\n  label_names: {c: three, d: four}\n")
    apply("mine")
    assert Params.load().data.label_names == {"c": "three", "d": "four"}


def test_small_numbers_are_written_with_an_exponent():
    assert [recipe.format_value(value) for value in (2e-4, 1.25e-5, 0.1, 1.0, 0)] == [
        "2.0e-4", "1.25e-5", "0.1", "1.0", "0"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  freeze_layer: 2\n", r"  train.freeze_layer: unknown key; did you mean freeze_layers\?$"),
        ("training:\n  seed: 2\n", r"  training: unknown key; did you mean train\?$"),
        ("train:\n  learning_rate: fast\n", r"  train.learning_rate: found 'fast'; allowed: a number > 0"),
        ("train: 3\n", r"  train: found 3; allowed: a section of keys"),
        ("train:\n", r"  train: found None; allowed: a section of keys"),
        ("data:\n  source: csv\n", r"  data.path: missing; data.source 'csv' needs the path"),
        ("seed: 1\nseed: 2\n", r": cannot be read as YAML: the key 'seed'"),
        ("# nothing but a head\n", r": found an empty file"),
    ],
)
def test_a_bad_recipe_is_refused_and_params_stay_as_they_are(folder, text, message):
    before = (folder / "params.yaml").read_text()
    write_recipe(folder, text)
    with pytest.raises(UserError, match=message) as caught:
        apply("mine")
    assert str(caught.value).startswith("recipes/mine.yaml: ")
    assert (folder / "params.yaml").read_text() == before


def test_an_unknown_key_of_params_is_refused(folder):
    path = folder / "params.yaml"
    path.write_text(path.read_text().replace("train:\n", "train:\n  forgotten: 1\n"))
    before = path.read_text()
    with pytest.raises(UserError, match=r"^params.yaml: 1 \w+\n  train.forgotten: unknown key"):
        apply("ci")
    assert path.read_text() == before


def test_keys_that_params_lack_are_added(folder, capsys):
    path = folder / "params.yaml"
    kept = re.sub(r"cache:\n.*\n", "", path.read_text())
    path.write_text(re.sub(r"  max_grad_norm.*\n", "", kept))
    apply("ci")
    assert Params.load() == load_recipe("ci")
    printed = capsys.readouterr().out
    assert "  train.max_grad_norm: missing → 1.0\n" in printed
    assert "  cache.max_size_gb: missing → 20\n" in printed


def test_make_repro_names_the_recipes_that_exist(folder):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv").mkdir()
    (folder / ".venv/.installed").touch()
    before = (folder / "params.yaml").read_text()
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    command = ["make", "--no-print-directory", "repro", "RECIPE=nonsense"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    allowed = " ".join(sorted([*RECIPES, "default"]))
    assert f"error in recipe: RECIPE: found nonsense; allowed: {allowed}\n" in result.stderr
    assert "repro] Error 1\n" in result.stderr
    assert result.stdout == ""
    assert (folder / "params.yaml").read_text() == before
