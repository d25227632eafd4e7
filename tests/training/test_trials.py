import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages import train
from stages.core.params import Params
from stages.core.paths import BASE, CLASSIFIER, TOKENIZED, TRAINING_CURVE, VALIDATION_CURVE
from stages.text.encoding import load_splits
from stages.text.tokenizer import load_tokenizer
from stages.training.history import write_history
from stages.training.trainer import DivergedError
from stages.training.trials import StopWhen, Trials

CHANGES = {
    "train.eval_steps": 0.25,
    "train.freeze_layers": 1,
    "train.learning_rate": 1e-2,
    "train.logging_steps": 1,
    "train.num_train_epochs": 3,
}


@pytest.fixture
def settings(tokenized, params):
    """The params of a short training, with changes; written to params.yaml too."""
    path, model = tokenized / "params.yaml", Params.load().model.name
    data = {"data.max_train_samples": 40, "data.max_test_samples": 10, "model.name": model}

    def change(changes):
        found = params(data | CHANGES | changes)
        assert Params.load(path) == found
        return found

    return change


@pytest.fixture
def trials(settings):
    return Trials(BASE, load_splits(TOKENIZED), load_tokenizer(TOKENIZED / "tokenizer"), Params.load().cache)


def run(trials, params, **options):
    return trials.run(params.train, params.train_seed, **options)


def copy_weights(training):
    return {name: value.detach().clone() for name, value in training.trainer.model.state_dict().items()}


def is_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "changes",
    [
        {"train.freeze_layers": 1},
        {"train.freeze_layers": 0, "train.seed": 7},
        {"train.freeze_layers": "all", "train.early_stopping_patience": 1},
        {"train.freeze_layers": 2, "cache.max_size_gb": 0, "train.metric_for_best_model": "loss"},
    ],
)
def test_a_trial_gives_the_weights_and_the_history_of_the_stage_train(settings, trials, changes, tmp_path):
    params = settings(changes)
    trials.cache = params.cache
    run(trials, settings(changes | {"train.learning_rate": 5e-3}))  # its weights are forgotten
    found = run(trials, settings(changes))
    weights = copy_weights(found)
    train.main()
    saved = load_file(CLASSIFIER / "model.safetensors")
    assert weights.keys() <= saved.keys()
    assert is_equal(weights, {name: saved[name] for name in weights})
    written = tmp_path / "training.csv", tmp_path / "validation.csv"
    write_history(found.history, found.best["step"], *written)
    assert [path.read_bytes() for path in written] == [path.read_bytes() for path in (TRAINING_CURVE, VALIDATION_CURVE)]


def test_the_order_of_trials_changes_nothing(settings, trials):
    kinds = ((1, 1), (1, 2), (0, 1))
    params = [settings({"train.freeze_layers": layers, "train.seed": seed}) for layers, seed in kinds]
    first = [copy_weights(run(trials, one)) for one in params]
    second = [copy_weights(run(trials, one)) for one in reversed(params)][::-1]
    assert all(is_equal(one, other) for one, other in zip(first, second, strict=True))
    assert not is_equal(first[0], first[1])


def test_a_seed_of_its_own_changes_the_training_and_not_the_data(settings, trials):
    params, other = settings({}), settings({"train.seed": 5})
    assert (params.train_seed, other.train_seed) == (42, 5)
    assert run(trials, params).best["loss"] != run(trials, other).best["loss"]


def test_some_rows_train_as_data_that_has_only_these(settings, trials):
    params, splits = settings({"train.class_weights": "balanced"}), load_splits(TOKENIZED)
    rows = np.array([0, 1, 2, 3, 5, 8, 13, 21, 30])
    found = copy_weights(run(trials, params, rows={"train": rows}))
    splits["train"] = splits["train"].select(rows)
    splits["train"] = splits["train"].flatten_indices()
    small = Trials(BASE, splits, trials.tokenizer, params.cache)
    assert is_equal(found, copy_weights(run(small, params)))


def test_a_training_stops_when_it_is_told_to(settings, trials):
    callback = StopWhen(lambda step, metrics: "accuracy" in metrics)
    found = run(trials, settings({}), callbacks=[callback])
    assert callback.stopped
    assert found.trainer.state.epoch < 3


def test_a_training_that_diverges_is_an_error(settings, trials):
    with pytest.raises(DivergedError, match=r"train.learning_rate: found 1e\+06; with it the validation loss"):
        run(trials, settings({"train.learning_rate": 1e6, "train.max_grad_norm": 0}))
