"""A Trainer that, killed at any moment, goes on where it was and ends with the same weights, bit for bit."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from stages.core.errors import Terminated
from stages.core.files import read_json, write_json
from stages.training import checkpoints

CHECKPOINT_SECONDS = float(os.environ.get("CHECKPOINT_SECONDS") or 300)  # between two checkpoints, at most
PROGRESS = "progress.json"


class ResumableTrainer(Trainer):
    """Trainer with checkpoints that count only when they are whole, and that hold what Trainer's own forget.

    Trainer keeps weights, optimizer, scheduler, loss scaler, random states, early stopping's patience and the best
    model so far. It forgets the loss since the last point of the training curve, the time spent, and that early
    stopping has decided. The order of rows must depend on seed and epoch alone.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.add_callback(ProgressCallback(self))
        self.seconds, self.started, self.signal = 0.0, time.monotonic(), 0

    def fit(self) -> None:
        """Train from the last whole checkpoint in `output_dir` on; `seconds` is then what that took in all processes.

        On SIGTERM or Ctrl-C a checkpoint is saved, and Terminated or KeyboardInterrupt raised.
        """
        last = checkpoints.latest(Path(self.args.output_dir))
        if last:
            print(f"goes on after step {checkpoints.get_step(last)} of an earlier run")
        self.started = time.monotonic()
        with self.stop_on_signal():
            self.train(resume_from_checkpoint=str(last) if last else None)
        self.seconds += time.monotonic() - self.started

    @contextmanager
    def stop_on_signal(self) -> Iterator[None]:
        """On a first signal, wait for the end of the step; on a second one, leave at once."""
        process, before = os.getpid(), {}

        def note(number: int, frame: FrameType | None) -> None:
            if os.getpid() == process:  # workers that load data get Ctrl-C too
                self.signal = number
                print("\nwill save and leave after this step; once more, and it leaves at once", file=sys.stderr)
                restore()

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        before |= {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            restore()
        if self.signal:
            raise Terminated if self.signal == signal.SIGTERM else KeyboardInterrupt

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with checkpoints.writing(checkpoint):
            super()._save_checkpoint(model, trial)
            progress = {
                "loss": self._tr_loss.item(),
                "last_logged": self._globalstep_last_logged,
                "seconds": self.seconds + time.monotonic() - self.started,
            }
            write_json(checkpoint / PROGRESS, progress)
        checkpoints.finish(checkpoint, best=self.state.best_model_checkpoint)

    def _init_training_state(self, *args: Any) -> tuple[int, int]:
        """Trainer's, but a training that was at its end does not make another step, and its folder may have moved."""
        epoch, batches = super()._init_training_state(*args)
        if self.state.best_global_step:  # Trainer keeps the whole path
            best = Path(self.args.output_dir) / f"checkpoint-{self.state.best_global_step}"
            self.state.best_model_checkpoint = str(best)
        stopped = any(
            callback.early_stopping_patience_counter >= callback.early_stopping_patience
            for callback in self.callback_handler.callbacks
            if isinstance(callback, EarlyStoppingCallback)
        )
        over = stopped or self.state.global_step >= self.state.max_steps
        return (sys.maxsize if over else epoch), batches


class ProgressCallback(TrainerCallback):
    """Restores what `ResumableTrainer` adds to a checkpoint, saves in time, and stops when a signal has come."""

    def __init__(self, trainer: ResumableTrainer):
        self.trainer, self.saved = trainer, time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}" / PROGRESS
        if state.global_step:
            progress = read_json(path)
            self.trainer._tr_loss += progress["loss"]
            self.trainer._globalstep_last_logged = progress["last_logged"]
            self.trainer.seconds = progress["seconds"]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.trainer.signal:
            control.should_save = control.should_training_stop = True
        elif time.monotonic() - self.saved > CHECKPOINT_SECONDS:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.saved = time.monotonic()
