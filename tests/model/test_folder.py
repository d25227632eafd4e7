"""What the head of a classifier reads, from the files of its model."""

import json

import pytest

from stages.model.folder import choose_pooling

MEAN = {"word_embedding_dimension": 384, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
CONFIG = {"model_type": "bert", "num_hidden_layers": 6}


@pytest.fixture
def write(tmp_path):
    """`write(pooling, config)` writes the two files, and returns their folder."""

    def write(pooling, config=CONFIG):
        (tmp_path / "config.json").write_text(json.dumps(config))
        if pooling is not None:
            (tmp_path / "1_Pooling").mkdir()
            (tmp_path / "1_Pooling/config.json").write_text(json.dumps(pooling))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (MEAN, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({"embedding_dimension": 384, "pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode": "cls"}, "first"),
        ({"pooling_mode": "max"}, None),
        ({"pooling_mode": ["mean", "max"]}, None),
        (MEAN | {"pooling_mode_max_tokens": True}, None),
        ({}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_head_on_a_frozen_encoder_reads_what_the_models_files_say(write, pooling, expected):
    assert choose_pooling(write(pooling), "all") == expected


@pytest.mark.parametrize(("freeze_layers", "expected"), [(0, None), (3, None), (5, None), (6, "mean"), ("all", "mean")])
def test_where_layers_train_the_head_is_that_of_transformers(write, freeze_layers, expected):
    assert choose_pooling(write(MEAN), freeze_layers) == expected


@pytest.mark.parametrize("wanted", ["first", "mean"])
@pytest.mark.parametrize("freeze_layers", [0, "all"])
def test_what_params_say_comes_before_the_models_files(write, wanted, freeze_layers):
    assert choose_pooling(write(MEAN, CONFIG | {"pooling": wanted}), freeze_layers) == wanted


def test_the_layers_of_distilbert_have_another_name(write):
    assert choose_pooling(write(MEAN, {"model_type": "distilbert", "n_layers": 2}), 2) == "mean"


def test_for_an_unknown_family_auto_is_the_head_of_transformers(write):
    assert choose_pooling(write(MEAN, CONFIG | {"model_type": "funnel"}), "all") is None
