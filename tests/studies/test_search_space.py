import optuna
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stages.core.sweep_space import Dimension
from stages.studies.search_space import choose_from, suggest, write_overrides

SPACE = {
    "train.learning_rate": Dimension(1e-5, 1e-3, True),
    "train.num_train_epochs": Dimension(1, 3),
    "train.freeze_layers": Dimension(choices=(3, "all", None, True)),
}


def test_what_is_drawn_is_in_the_space():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [suggest(study.ask(), SPACE) for _ in range(50)]
    assert all(choose_from(SPACE, params) == params for params in drawn)
    assert {params["train.num_train_epochs"] for params in drawn} == {1, 2, 3}
    assert {params["train.freeze_layers"] for params in drawn} == {3, "all", None, True}
    assert sum(params["train.learning_rate"] < 1e-4 for params in drawn) > 15  # half of them by their logarithm


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train.num_train_epochs": 2.0}, 2),
        ({"train.num_train_epochs": 2.5}, 2.5),
        ({"train.num_train_epochs": 4}, None),
    ],
)
def test_whole_numbers_are_chosen_as_such(changes, expected):
    values = {"train.learning_rate": 1e-4, "train.freeze_layers": 3} | changes
    chosen = choose_from(SPACE, values)
    found = chosen and chosen["train.num_train_epochs"]
    assert (found, type(found)) == (expected, type(expected))


def test_values_outside_of_the_space_are_not_chosen():
    inside = {"train.learning_rate": 1e-4, "train.num_train_epochs": 1, "train.freeze_layers": 3}
    for key, value in {"train.learning_rate": "auto", "train.freeze_layers": 4, "train.num_train_epochs": 0}.items():
        assert choose_from(SPACE, inside | {key: value}) is None


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-100, 100) | st.booleans() | st.none())
def test_overrides_have_all_digits(value):
    (text,) = write_overrides({"train.x": value})
    key, _, written = text.partition("=")
    found = yaml.safe_load(written)
    assert key == "train.x"
    assert float(found) == value if isinstance(value, float) else found is value or found == value
