import signal

import pytest
import torch
from support import easy_task
from transformers import TrainerCallback

from stages.core.errors import Terminated, UserError
from stages.training import resumable_trainer as resumable
from stages.training.checkpoints import find_latest, get_step


class At(TrainerCallback):
    """Do something at the end of a step, once its checkpoint was written."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.act()


def crash():
    raise RuntimeError("crash")


@pytest.fixture
def train(tiny_model, params, tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(resumable, "CHECKPOINT_SECONDS", 0)  # after every step

    def run(name, changes, *callbacks):
        return easy_task.train(tiny_model, params, tmp_path / name, changes, callbacks)[0]

    return run


@pytest.fixture(autouse=True)
def ctrl_c():
    """Ctrl-C as in a terminal: a shell's background jobs begin with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def curves(trainer):
    """The history without timings."""
    return [
        {key: value for key, value in row.items() if not key.endswith(("runtime", "per_second"))}
        for row in trainer.state.log_history
        if "train_runtime" not in row
    ]


@pytest.mark.parametrize(
    ("step", "changes"),
    [
        pytest.param(7, {}, id="in an epoch"),
        pytest.param(16, {}, id="between epochs"),
        pytest.param(21, {"train.freeze_layers": 1}, id="on cached features"),
        pytest.param(11, {"train.freeze_layers": "all", "train.dataloader_num_workers": 2}, id="all frozen"),
        pytest.param(11, {"train.dataloader_num_workers": 2}, id="with workers"),
        pytest.param(5, {"train.gradient_accumulation_steps": 3}, id="accumulated"),
        pytest.param(9, {"train.precision": "bf16", "train.class_weights": "balanced"}, id="bf16"),
        pytest.param(18, {"train.early_stopping_patience": 3, "train.eval_steps": 5}, id="patience"),
    ],
)  # fmt: skip
def test_a_resumed_training_ends_with_the_same_bytes(train, tmp_path, monkeypatch, step, changes):
    changes = {"train.num_train_epochs": 2, "train.logging_steps": 4, "train.eval_steps": 6} | changes
    with pytest.raises(RuntimeError, match="crash"):
        train("parts", changes, At(step, crash))
    monkeypatch.setattr(resumable, "CHECKPOINT_SECONDS", 1000)  # the others need no checkpoint after every step
    complete = train("complete", changes)
    assert get_step(find_latest(tmp_path / "parts")) == step
    parts = train("parts", changes)
    one, other = complete.model.state_dict(), parts.model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert curves(complete) == curves(parts)


@pytest.mark.parametrize(
    "changes",
    [
        {"train.num_train_epochs": 0.5},
        {"train.num_train_epochs": 20, "train.eval_steps": 4, "train.early_stopping_patience": 2},
    ],
    ids=["last step", "stopped early"],
)
def test_a_finished_training_makes_no_further_step(train, changes):
    complete, again = train("complete", changes), train("complete", changes, At(10**9, crash))
    assert again.state.global_step == complete.state.global_step
    one, other = complete.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert again.seconds >= complete.seconds > 0


def test_a_finished_training_whose_folder_was_moved_gives_its_best_model(train, tmp_path):
    changes = {"train.eval_steps": 5, "train.metric_for_best_model": "loss", "train.learning_rate": 2e-2}
    complete = train("complete", changes)
    assert complete.state.best_global_step < complete.state.global_step
    (tmp_path / "complete").rename(tmp_path / "moved")
    one, other = complete.model.state_dict(), train("moved", changes, At(10**9, crash)).model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_saves_a_checkpoint_and_stops(train, tmp_path, monkeypatch, number, error):
    monkeypatch.setattr(resumable, "CHECKPOINT_SECONDS", 1000)
    handler = signal.getsignal(number)
    with pytest.raises(error):
        train("parts", {}, At(3, lambda: signal.raise_signal(number)))
    assert get_step(find_latest(tmp_path / "parts")) == 4
    assert signal.getsignal(number) == handler
    assert train("parts", {}).state.global_step == 16


def test_seconds_and_memory_of_all_processes_are_added_up(train, monkeypatch):
    took = iter(
        [{"train_seconds": 100.0, "train_peak_memory_mb": 900.0}] * 7
        + [{"train_seconds": 10.0, "train_peak_memory_mb": 300.0}] * 99
    )
    monkeypatch.setattr(resumable, "measure_process", lambda name: next(took))
    with pytest.raises(RuntimeError, match="crash"):
        train("parts", {}, At(6, crash))
    assert train("parts", {}).measure() == {"train_seconds": 110.0, "train_peak_memory_mb": 900.0}
    assert train("other", {}).measure() == {"train_seconds": 10.0, "train_peak_memory_mb": 300.0}


def test_a_wrong_time_between_checkpoints_is_an_error(train, monkeypatch):
    monkeypatch.setenv("CHECKPOINT_SECONDS", "5m")
    with pytest.raises(UserError, match=r"CHECKPOINT_SECONDS: found '5m'; allowed: a number ≥ 0"):
        train("parts", {})


def test_a_second_signal_stops_at_once(train, tmp_path, monkeypatch):
    monkeypatch.setattr(resumable, "CHECKPOINT_SECONDS", 1000)

    def press_twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train("parts", {}, At(3, press_twice))
    assert find_latest(tmp_path / "parts") is None
