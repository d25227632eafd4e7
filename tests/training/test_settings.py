import math

import pytest
from support.tiny_models import tiny_config

from stages.training.settings import FEWEST_STEPS, read_resolved, resolve_settings


@pytest.mark.parametrize(
    ("freeze_layers", "expected"),
    [(0, (1, 2e-4)), (1, (3, 5e-4)), (2, (10, 1e-3)), (3, (20, 5e-3)), ("all", (20, 5e-3))],
)
def test_auto_is_more_and_larger_steps_where_fewer_layers_train(params, freeze_layers, expected):
    config = tiny_config("bert")
    config.frozen_layers = freeze_layers
    resolved = resolve_settings(params().train, config, rows=4000)
    assert (resolved.num_train_epochs, resolved.learning_rate) == expected


@pytest.mark.parametrize("rows", [1, 31, 100, 405, 3999, 4000, 10_000])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_auto_is_as_many_epochs_as_make_125_steps_where_rows_are_few(params, rows, accumulation):
    train = params({"train.gradient_accumulation_steps": accumulation}).train
    epochs = resolve_settings(train, tiny_config("bert"), rows).num_train_epochs
    steps = math.ceil(rows / (32 * accumulation))  # of an epoch
    assert epochs * steps >= FEWEST_STEPS
    assert epochs == 1 or (epochs - 1) * steps < FEWEST_STEPS


def test_a_value_that_the_user_sets_stays(params):
    config = tiny_config("bert")
    config.frozen_layers = "all"
    resolved = resolve_settings(params({"train.num_train_epochs": 2}).train, config, rows=10)
    assert (resolved.num_train_epochs, resolved.learning_rate) == (2, 5e-3)
    set_by_user = params({"train.num_train_epochs": 2, "train.learning_rate": 1e-4}).train
    assert resolve_settings(set_by_user, config, rows=10) == set_by_user


def test_what_auto_was_is_read_from_the_files_of_the_training(tmp_path):
    tiny_config("bert").save_pretrained(tmp_path)
    assert read_resolved({"num_train_epochs": 20.0, "learning_rate": 5e-3, "validation_loss": 1}, tmp_path) == {
        "model.pooling": "first", "train.num_train_epochs": "20", "train.learning_rate": "0.005"
    }  # fmt: skip
