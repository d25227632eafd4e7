"""Each recipe is a whole params file, with a head that says what it repeats and what was reached."""

import re

import pytest
from support.project import ROOT

from stages.core.params import Params

RECIPES = sorted(path.stem for path in (ROOT / "recipes").iterdir())


def test_there_are_the_nine_recipes():
    assert RECIPES == [
        "chinese-head", "ci", "imdb-bert-last4", "imdb-full", "imdb-minilm", "imdb-quick", "imdb-scratch", "yelp-full",
        "yelp-quick",
    ]  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_valid_and_pins_what_it_takes_from_elsewhere(name):
    params = Params.load(ROOT / f"recipes/{name}.yaml")
    assert (params.data.source == "demo") == (name == "ci")
    if params.data.source == "hub":
        assert re.fullmatch("[0-9a-f]{40}", params.data.revision)
    if (params.data.path or "").startswith("http"):
        assert params.data.sha256
    if params.model.tokenizer != "train":
        assert re.fullmatch("[0-9a-f]{40}", params.model.revision)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_repeats_and_what_was_reached(name):
    head = (ROOT / f"recipes/{name}.yaml").read_text().split("\nseed:")[0]
    assert f"make repro RECIPE={name}" in head
    assert "Repeats" in head or "New" in head
    assert ("Not run here" in head) != ("Reached here" in head)
    assert all(line.startswith("#") for line in head.splitlines() if line)


def test_the_settings_are_those_of_the_experiments():
    recipes = {name: Params.load(ROOT / f"recipes/{name}.yaml") for name in RECIPES}
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
