import pytest

from stages.core.errors import UserError
from stages.core.sweep_space import Dimension, parse_space


def test_ranges_and_choices_are_read():
    space = {
        "train.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
        "train.num_train_epochs": {"low": 1, "high": 3},
        "train.freeze_layers": {"choices": [3, "all"]},
    }
    assert parse_space(space) == {
        "train.learning_rate": Dimension(1e-5, 1e-3, True),
        "train.num_train_epochs": Dimension(1, 3),
        "train.freeze_layers": Dimension(choices=(3, "all")),
    }


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.learning_rte", {"low": 1, "high": 2}, "sweep.train.learning_rte: cannot be searched; allowed: keys of"),
        ("seed", {"low": 1, "high": 2}, "sweep.seed: cannot be searched"),
        ("train.threshold", {"choices": [None, "max f1"]}, "sweep.train.threshold: cannot be searched, because it is"),
        ("train.calibration", {"choices": ["none", "temperature"]}, "sweep.train.calibration: cannot be searched, bec"),
        (
            "train.learning_rate",
            {"low": 2, "high": 1},
            "sweep.train.learning_rate: found low 2 and high 1; low must be",
        ),
        ("train.learning_rate", {"low": "a", "high": 1}, "found low 'a' and high 1; allowed: numbers"),
        ("train.learning_rate", {"low": 0, "high": 1}, "sweep.train.learning_rate: found 0; allowed: a number > 0"),
        ("train.weight_decay", {"low": 0, "high": 1, "log": True}, "found low 0 with log; it must be greater than 0"),
        ("train.weight_decay", {"low": 0}, r"sweep.train.weight_decay: found \{'low': 0\}; allowed: low and high"),
        ("train.weight_decay", {"choices": [0.1]}, "allowed: low and high"),
        ("train.weight_decay", [0.1, 0.2], "allowed: low and high"),
        ("train.weight_decay", {"choices": [0.1, "x"]}, "sweep.train.weight_decay: found 'x'; allowed: a number ≥ 0"),
        ("train.weight_decay", {"low": 0, "high": 1, "step": 2}, "allowed: low and high"),
        ("train.dataloader_pin_memory", {"low": 0, "high": 1}, "found 0; allowed: true or false"),
    ],
)
def test_what_cannot_be_searched_is_named(params, key, value, message):
    with pytest.raises(UserError, match=f"(?s)params.yaml: 1 error.*{message}"):
        params({"sweep": {key: value}})


def test_all_mistakes_are_named_at_once(params):
    with pytest.raises(UserError, match=r"(?s)sweep.seed: .*sweep.model.name: "):
        params({"sweep": {"seed": {"choices": [1, 2]}, "model.name": {"choices": ["a", "b"]}}})


@pytest.mark.parametrize("value", [None, [], "all"])
def test_a_space_that_is_no_mapping_is_an_error(params, value):
    with pytest.raises(UserError, match=r"sweep: found .*; allowed: \{train.learning_rate: \{low: 1, high: 2\}, ...\}"):
        params({"sweep": value})
