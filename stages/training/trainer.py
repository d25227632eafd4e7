"""`transformers.Trainer` for classifiers: its batches, loss, validation, and choice of the best checkpoint."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader, Dataset
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from stages.core import ranks
from stages.core.errors import UserError
from stages.core.param_sections import Train
from stages.core.problem_type import MULTI_LABEL
from stages.evaluation.evaluate_metric import compute_validation_metrics
from stages.evaluation.predictions import make_predictions
from stages.model.prediction import predict_batches
from stages.text.batches import LengthGroupedSampler, MarkedRows, RowDataset, SharedBatches, pass_batch_through
from stages.text.windows import find_first_windows, pool_windows
from stages.training.inputs import Inputs
from stages.training.losses import balance_classes, make_loss, make_multi_label_loss
from stages.training.prediction import make_eval_batches, make_eval_loader, read_eval_batches
from stages.training.progress import shorten_progress
from stages.training.resumable_trainer import ResumableTrainer
from stages.training.settings import resolve_settings
from stages.training.trainer_arguments import make_arguments


def make_trainer(
    inputs: Inputs,
    train: Train,
    seed: int,
    folder: Path,
    callbacks: list[TrainerCallback],
    trainer_class: "type[ClassifierTrainer] | None" = None,
) -> "ClassifierTrainer":
    """A Trainer that validates and saves every `eval_steps` and at the end, and finally loads the best of these models.

    `folder` is for the checkpoints.
    """
    rows = inputs.rows["train"]
    train = resolve_settings(train, inputs.model.config, len(rows))
    arguments = make_arguments(train, rows, seed, folder)
    callbacks = [*callbacks, ValidateLastStep()]
    if train.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(train.early_stopping_patience))
    num_labels = inputs.model.config.num_labels
    assert num_labels is not None
    weights = balance_classes(rows.labels, num_labels) if train.class_weights == "balanced" else None
    loss = make_multi_label_loss if rows.problem_type == MULTI_LABEL else make_loss
    trainer = (trainer_class or ClassifierTrainer)(
        inputs,
        arguments,
        train_dataset=rows,
        eval_dataset=inputs.rows["validation"],
        compute_loss_func=loss(weights, train.label_smoothing_factor),
        callbacks=callbacks,
    )
    shorten_progress(trainer)
    return trainer


class DivergedError(UserError):
    """The validation loss of a training is not a number."""


class ClassifierTrainer(ResumableTrainer):
    """Trainer for data sets of complete batches: trains in length groups, validates and predicts in token budgets.

    It computes the features of every batch first, where they are not cached.
    """

    def __init__(self, inputs: Inputs, arguments: TrainingArguments, **kwargs: Any):
        self.frozen = inputs.frozen
        self.precision = "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32"
        self.is_ordinal = getattr(inputs.model.config, "is_ordinal", False)
        super().__init__(inputs.model, arguments, data_collator=pass_batch_through, **kwargs)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> LengthGroupedSampler:
        rows = require_rows(self.train_dataset if train_dataset is None else train_dataset)
        return LengthGroupedSampler(rows.lengths, self.args.train_batch_size, self.args.seed)

    def get_train_dataloader(self) -> DataLoader:
        """Trainer's, or for several ranks the same batches, of each of which a rank has its share.

        `per_device_train_batch_size` is the size of the whole batch, so that the number of ranks changes no setting.
        """
        if ranks.count_ranks() == 1:
            return super().get_train_dataloader()
        loader = DataLoader(
            MarkedRows(require_rows(self.train_dataset)),
            batch_sampler=SharedBatches(self._get_train_sampler(), ranks.get_rank(), ranks.count_ranks()),
            collate_fn=pass_batch_through,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        # As for one process, since the batches are this rank's already.
        return prepare_data_loader(
            loader, self.accelerator.device, num_processes=1, process_index=0, put_on_device=True
        )

    def get_eval_dataloader(self, eval_dataset: str | Dataset | None = None) -> DataLoader:
        """This rank's share of the batches of a validation, which all have about the same number of tokens."""
        rows = require_rows(self.eval_dataset if eval_dataset is None else eval_dataset)
        return make_eval_loader(rows, ranks.share(make_eval_batches(rows, self.args.eval_batch_size)))

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        return self.get_eval_dataloader(test_dataset)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        inputs = super()._prepare_inputs(inputs)
        return inputs if self.frozen is None else self.frozen(inputs)

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """The predictions of documents, in their order, computed as `evaluate` does, and the metrics of all of them.

        Trainer's own would gather the logits of all ranks batch by batch. The loss is plain cross-entropy, as that of
        the test: Trainer's would be with class weights and label smoothing, so that experiments which differ in these
        could not be compared, and a mean over unequal batches.
        """
        rows = require_rows(dataloader.dataset)
        logits = pool_windows(self.predict_rows(dataloader), rows.documents, rows.problem_type)
        labels = rows.labels[find_first_windows(rows.documents)]
        metrics: dict[str, float] = {}
        if metric_key_prefix == "eval":
            predictions = make_predictions(rows.problem_type, logits, labels, is_ordinal=self.is_ordinal)
            values = compute_validation_metrics(predictions)
            self.check_metric(values)
            metrics = {f"eval_{name}": value for name, value in values.items()}
        return EvalLoopOutput(logits, labels, metrics, len(rows))

    def predict_rows(self, dataloader: DataLoader) -> np.ndarray:
        """Logits `(N, C)` of all rows, of which each rank computes a share."""
        model, rows = self.model, require_rows(dataloader.dataset)
        assert isinstance(model, PreTrainedModel)
        self.callback_handler.eval_dataloader = dataloader  # for the progress bar
        batches = self.count_steps(read_eval_batches(dataloader))
        logits = predict_batches(model.eval(), self.frozen, batches, len(rows), self.precision)
        mine = np.array([row for batch in dataloader.batch_sampler or () for row in batch], dtype=int)
        for numbers, values in ranks.gather((mine, logits[mine])):
            logits[numbers] = values
        return logits

    def count_steps(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches, with the callback after each that Trainer's own loop has."""
        for batch in batches:
            yield batch
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

    def check_metric(self, values: dict[str, float]) -> None:
        """UserError when the metric that chooses the best model is not defined on the rows of validation."""
        name = str(self.args.metric_for_best_model)
        if name not in values:
            raise UserError(
                f"train.metric_for_best_model: {name} is not defined on validation, because none of its rows, or each "
                f"of them, has the label. Use more rows of validation, or one of {', '.join(values)}."
            )


def require_rows(dataset: Any) -> RowDataset:
    """The dataset, which must be a RowDataset: Trainer itself allows many kinds."""
    assert isinstance(dataset, RowDataset)
    return dataset


class ValidateLastStep(TrainerCallback):
    """Validates and saves the last model too when the number of steps is not a multiple of `eval_steps`."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == state.max_steps:
            control.should_evaluate = control.should_save = True


def find_best_validation(trainer: Trainer) -> dict[str, float]:
    """The validation of the checkpoint that Trainer chose: `step`, `epoch`, `loss` and all metrics.

    DivergedError when its loss is not a number.
    """
    validations = [row for row in trainer.state.log_history if "eval_loss" in row]
    best = next((row for row in validations if row["step"] == trainer.state.best_global_step), validations[-1])
    if not math.isfinite(best["eval_loss"]):  # Trainer chooses no checkpoint when the loss is NaN
        raise DivergedError(
            f"train.learning_rate: found {trainer.args.learning_rate:g}; with it the validation loss is not a number "
            f"({best['eval_loss']}). Use a smaller one, or another train.precision."
        )
    return {key.removeprefix("eval_"): value for key, value in best.items()}


def measure_speed(trainer: ClassifierTrainer, tokens: int) -> dict[str, float]:
    """Seconds in the training loop, validation included, and samples and tokens (no padding) trained per second.

    `tokens` are those of an epoch; samples are rows of the training split, or their windows.
    """
    epochs, rows = trainer.state.epoch, require_rows(trainer.train_dataset)
    return {
        "train_loop_seconds": round(trainer.seconds, 2),
        "train_samples_per_second": round(epochs * len(rows) / trainer.seconds, 1),
        "train_tokens_per_second": round(epochs * tokens / trainer.seconds, 1),
    }
