"""A Trainer that can be killed at any moment, resumes, and ends with the same weights, bit for bit."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from stages.core import ranks
from stages.core.errors import Terminated, UserError
from stages.core.files import note_path, read_json, write_json
from stages.core.stage import measure_process
from stages.training import checkpoints

CHECKPOINT_SECONDS = 300.0  # at most, between two checkpoints, unless the environment variable of this name says so
SECONDS_BETWEEN_NOTES = 5.0  # at least, between two notes of the time spent
PROGRESS = "progress.json"
SIGNALLED = 1000  # is added to the number of a signal, so that it is higher than the wish for a checkpoint
SPENT = "spent.json"


class ResumableTrainer(Trainer):
    """Trainer whose checkpoints are used only when they are complete, and hold what Trainer's own do not.

    Trainer saves weights, optimizer, scheduler, loss scaler, random states, early stopping's patience and the best
    model so far. It does not save the loss since the last point of the training curve, the time spent, and that early
    stopping has stopped the training. The order of rows must depend on seed and epoch alone.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.add_callback(ResumeCallback(self))
        self.seconds, self.started, self.signal = 0.0, time.monotonic(), 0
        self.earlier: dict[str, float] = {}  # what earlier processes of this training took

    @property
    def folder(self) -> Path:
        """Where the checkpoints are."""
        assert self.args.output_dir is not None
        return Path(self.args.output_dir)

    def fit(self) -> None:
        """Train, from the last complete checkpoint if there is one; then `seconds` is the time of all processes.

        On SIGTERM or Ctrl-C a checkpoint is saved, and Terminated or KeyboardInterrupt raised.
        """
        last = ranks.broadcast(checkpoints.find_latest(self.folder) if ranks.get_rank() == 0 else None)
        if last:
            print(f"resuming after step {checkpoints.get_step(last)} of an earlier run")
            self.earlier = read_spent(self.folder)
        self.started = time.monotonic()
        with self.stop_on_signal():
            self.train(resume_from_checkpoint=str(last) if last else None)
        self.seconds += time.monotonic() - self.started

    def measure(self) -> dict[str, float]:
        """Seconds and peak memory of the stage as `measure_process` gives them, with those of earlier processes."""
        values = measure_process("train")
        return {
            name: round(value + self.earlier.get(name, 0), 2)
            if name.endswith("_seconds")
            else max(value, self.earlier.get(name, 0))
            for name, value in values.items()
        }

    def note_spent(self) -> None:
        """Write what the training took so far, for the process that resumes it if this one is killed."""
        with suppress(OSError):  # a full disk; then less is counted
            write_json(self.folder / SPENT, self.measure())

    @contextmanager
    def stop_on_signal(self) -> Iterator[None]:
        """On the first signal, stop after the step; on the second one, stop at once."""
        process = os.getpid()
        handlers: dict[int, Any] = {}

        def record_signal(number: int, frame: FrameType | None) -> None:
            if os.getpid() == process:  # Ctrl-C reaches the workers that load data, too
                self.signal = number
                if ranks.get_rank() == 0:
                    print(
                        "\nsaving a checkpoint and stopping after this step; a second signal stops at once",
                        file=sys.stderr,
                    )
                restore_handlers()

        def restore_handlers() -> None:
            for number, handler in handlers.items():
                signal.signal(number, handler)

        handlers |= {number: signal.signal(number, record_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            restore_handlers()
        if self.signal:
            raise Terminated if self.signal == signal.SIGTERM else KeyboardInterrupt

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        checkpoint = self.folder / f"checkpoint-{self.state.global_step}"
        losses = ranks.gather(self._tr_loss.item())
        with note_path(checkpoint), ranks.first_only(lambda: checkpoints.begin_checkpoint(checkpoint)):
            with ranks.failing_together():
                super()._save_checkpoint(model, trial)  # of ranks but the first, their random states
            progress = {
                "losses": losses,
                "last_logged": self._globalstep_last_logged,
                "seconds": self.seconds + time.monotonic() - self.started,
            }
            if ranks.get_rank() == 0:
                write_json(checkpoint / PROGRESS, progress)
                checkpoints.complete_checkpoint(checkpoint, best=self.state.best_model_checkpoint)

    def _init_training_state(self, *args: Any) -> tuple[int, int]:
        """Trainer's, but a finished training makes no further step, and the folder may have been moved."""
        epoch, batches = super()._init_training_state(*args)
        if self.state.best_global_step:  # Trainer saved the complete path
            best = self.folder / f"checkpoint-{self.state.best_global_step}"
            self.state.best_model_checkpoint = str(best)
        stopped = any(
            callback.early_stopping_patience_counter >= callback.early_stopping_patience
            for callback in self.callback_handler.callbacks
            if isinstance(callback, EarlyStoppingCallback)
        )
        is_finished = stopped or self.state.global_step >= self.state.max_steps
        return (sys.maxsize if is_finished else epoch), batches


def read_spent(folder: Path) -> dict[str, float]:
    """What earlier processes noted; empty when that is missing or broken."""
    try:
        return {name: float(value) for name, value in read_json(folder / SPENT).items()}
    except (UserError, AttributeError, TypeError, ValueError):
        return {}


def read_checkpoint_seconds() -> float:
    """The longest time between two checkpoints; UserError when the environment variable is not a number."""
    found = os.environ.get("CHECKPOINT_SECONDS") or str(CHECKPOINT_SECONDS)
    try:
        seconds = float(found)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise UserError(f"the environment variable CHECKPOINT_SECONDS: found {found!r}; allowed: a number ≥ 0.")
    return seconds


class ResumeCallback(TrainerCallback):
    """Restores what `ResumableTrainer` adds to a checkpoint, saves often enough, and stops after a signal."""

    def __init__(self, trainer: ResumableTrainer):
        self.trainer, self.saved, self.noted = trainer, time.monotonic(), time.monotonic()
        self.checkpoint_seconds = read_checkpoint_seconds()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / PROGRESS
        if state.global_step:
            progress = read_json(path)
            self.trainer._tr_loss += progress["losses"][ranks.get_rank()]
            self.trainer._globalstep_last_logged = progress["last_logged"]
            self.trainer.seconds = progress["seconds"]
        elif ranks.get_rank() > 0:
            torch.manual_seed(args.seed + ranks.get_rank())  # so that dropout differs

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        is_late = time.monotonic() - self.saved > self.checkpoint_seconds and ranks.get_rank() == 0
        wish = ranks.find_highest(SIGNALLED + self.trainer.signal if self.trainer.signal else int(is_late))
        if wish > SIGNALLED:  # a signal that some rank has received
            self.trainer.signal = wish - SIGNALLED
            control.should_save = control.should_training_stop = True
        elif wish:
            control.should_save = True
        if time.monotonic() - self.noted > SECONDS_BETWEEN_NOTES and ranks.get_rank() == 0:
            self.trainer.note_spent()
            self.noted = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if ranks.get_rank() == 0:
            self.trainer.note_spent()
        self.saved = self.noted = time.monotonic()
