"""Many trainings in one process, on features that are computed once: each has the bytes that `train` would give.

A training alone loads a model, computes or finds features, and imports its libraries. Here these are done once for all
trainings with the same frozen layers, and the best weights stay in memory in place of checkpoints on disk.
"""

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import DatasetDict
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from stages.core.cpu_slots import reserve_cores
from stages.core.files import read_json
from stages.core.hardware import describe_processor, resolve_precision
from stages.core.param_sections import Cache, Train
from stages.core.paths import BASE, STATISTICS, TOKENIZED, TOKENIZER
from stages.text.batches import RowSubset
from stages.text.encoding import load_splits
from stages.text.labels import make_task
from stages.text.tokenizer import load_tokenizer
from stages.training.history import list_points, list_validations
from stages.training.initial import build_initial_model
from stages.training.inputs import Inputs, prepare_inputs
from stages.training.resumable_trainer import ResumeCallback
from stages.training.settings import resolve_settings
from stages.training.trainer import ClassifierTrainer, DivergedError, find_best_validation, make_trainer, require_rows

SPLITS = ("train", "validation")
MOST_PREPARED = 3  # models that are kept, each with a copy of its weights
IN_MEMORY = "memory"  # in place of the path of the best checkpoint


class TrialTrainer(ClassifierTrainer):
    """A Trainer that keeps its best weights in memory, and prints nothing."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        for callback in (ResumeCallback, PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        self.best: dict[str, torch.Tensor] = {}

    def fit(self) -> None:
        """Train from the beginning."""
        started = time.monotonic()
        self.train()
        self.seconds = time.monotonic() - started

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.state.best_global_step == self.state.global_step:
            self.best = copy_trained(self.model)
            self.state.best_model_checkpoint = IN_MEMORY

    def _load_best_model(self) -> None:
        restore_trained(self.model, self.best)


class Training(NamedTuple):
    """A finished training."""

    trainer: TrialTrainer  # its model has the best weights, until the next training
    best: dict[str, float]  # the validation that was chosen: step, epoch, loss and all metrics
    history: list[dict[str, float]]  # Trainer's `log_history`
    started: float  # seconds since 1970
    seconds: float  # in all, preparation included where it was not done before

    def predict_validation(self) -> np.ndarray:
        """Logits `(D, C)` of the documents that it was validated on; before the next training."""
        logits = self.trainer.predict(require_rows(self.trainer.eval_dataset)).predictions
        assert isinstance(logits, np.ndarray)
        return logits

    def describe(self, stopped: bool = False) -> dict[str, Any]:
        """What a study keeps of it, as JSON: the chosen validation, the curves, times, and the processor.

        `stopped` says that the training was ended early, because it was bad.
        """
        return {
            "stopped": stopped,
            "best": self.best,
            "train": list_points(self.history),
            "validation": list_validations(self.history, self.best["step"]),
            "started": self.started,
            "seconds": self.seconds,
            "loop_seconds": self.trainer.seconds,
            "processor": describe_processor(),
        }


def describe_diverged(error: DivergedError, started: float) -> dict[str, Any]:
    """What a study keeps of a training whose loss is not a number, which began at `started` (seconds since 1970)."""
    seconds = time.time() - started
    empty: dict[str, Any] = {"best": {}, "train": [], "validation": [], "processor": describe_processor()}
    times = {"started": started, "seconds": seconds, "loop_seconds": seconds}
    return {"stopped": True, "problem": str(error)} | empty | times


@dataclass
class Prepared:
    """A model before its training, and the rows that it takes."""

    model: PreTrainedModel
    inputs: Inputs
    initial: dict[str, torch.Tensor]  # values of what trains


class Trials:
    """Runs trainings of a base model on the tokenized splits `train` and `validation`, one after another."""

    @classmethod
    def open(cls, cache: Cache) -> "Trials":
        """Those of the pipeline's base model and data; UserError when they are missing."""
        is_ordinal = read_json(STATISTICS, ["is_ordinal"])["is_ordinal"]
        return cls(BASE, load_splits(TOKENIZED), load_tokenizer(TOKENIZER), cache, is_ordinal)

    def __init__(
        self,
        base: Path,
        data: DatasetDict,
        tokenizer: PreTrainedTokenizerBase,
        cache: Cache,
        is_ordinal: bool = False,
    ):
        self.base, self.data, self.tokenizer, self.cache = base, data, tokenizer, cache
        self.task = make_task(data["train"], is_ordinal)
        self.prepared: dict[tuple[Any, ...], Prepared] = {}

    @property
    def labels(self) -> list[str]:
        """The names of the labels."""
        return self.task.labels

    def run(
        self,
        train: Train,
        seed: int,
        rows: dict[str, np.ndarray] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> Training:
        """Train as the stage `train` does with this section and seed.

        `rows` are the numbers of the rows of each split that are used, ascending; all, when it is None. DivergedError
        when the loss is not a number; UserError when layers cannot be frozen.
        """
        started, since = time.time(), time.monotonic()
        with reserve_cores():
            prepared = self.prepare(train, seed)
            restore_trained(prepared.model, prepared.initial)
            inputs = prepared.inputs if rows is None else select_rows(prepared.inputs, rows)
            trainer = make_trainer(inputs, train, seed, Path(IN_MEMORY), list(callbacks), TrialTrainer)
            assert isinstance(trainer, TrialTrainer)
            trainer.fit()
        best, history = find_best_validation(trainer), trainer.state.log_history
        return Training(trainer, best, history, started, time.monotonic() - since)

    def forget(self) -> None:
        """Free the memory of all models and of their features."""
        self.prepared.clear()
        gc.unfreeze()
        gc.collect()

    def resolve(self, train: Train, seed: int) -> Train:
        """The section with the number that each `auto` stands for."""
        prepared = self.prepare(train, seed)
        return resolve_settings(train, prepared.model.config, len(prepared.inputs.rows["train"]))

    def prepare(self, train: Train, seed: int) -> Prepared:
        """The model and its inputs, from the last preparations where the same was prepared."""
        precision = resolve_precision("train.precision", train.precision)
        key = (train.freeze_layers, precision, seed, train.full_determinism)
        if key not in self.prepared:
            while len(self.prepared) >= MOST_PREPARED:
                del self.prepared[next(iter(self.prepared))]
            self.prepared[key] = self.make_prepared(train, seed, precision)
            gc.collect()
            gc.freeze()  # accelerate collects after each training, which took 0.28 s
        self.prepared[key] = self.prepared.pop(key)  # the last used is the last
        return self.prepared[key]

    def make_prepared(self, train: Train, seed: int, precision: str) -> Prepared:
        model = build_initial_model(self.base, self.task, self.tokenizer, train, seed)
        with redirect_stdout(StringIO()):  # the numbers of rows found and computed, for each number of frozen layers
            inputs = prepare_inputs(model, self.data, SPLITS, self.tokenizer, precision, self.cache)
        return Prepared(inputs.model, inputs, copy_trained(inputs.model))


def select_rows(inputs: Inputs, rows: dict[str, np.ndarray]) -> Inputs:
    """The same model with these rows of the splits."""
    chosen = {split: RowSubset(inputs.rows[split], rows[split]) for split in rows}
    return Inputs(inputs.model, inputs.rows | chosen, inputs.frozen)


def copy_trained(model: Any) -> dict[str, torch.Tensor]:
    """Copies of the parameters that train, by name."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def restore_trained(model: Any, values: dict[str, torch.Tensor]) -> None:
    """Set the parameters that train to these values, and forget their gradients."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.requires_grad:
                value.copy_(values[name])
                value.grad = None


class StopWhen(TrainerCallback):
    """Stops a training when a function of a validation's number, from 1, and its metrics says so."""

    def __init__(self, stop: Callable[[int, dict[str, float]], bool]):
        self.stop, self.number, self.stopped = stop, 0, False

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.number += 1
        values = {key.removeprefix("eval_"): value for key, value in kwargs["metrics"].items()}
        if self.stop(self.number, values) and state.global_step < state.max_steps:
            self.stopped = control.should_training_stop = True
