"""What `transformers.Trainer` needs from us."""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from stages.core.errors import UserError
from stages.core.hardware import resolve_precision
from stages.core.param_sections import Evaluate, Train
from stages.evaluation.metrics import compute_metrics
from stages.evaluation.predictions import LabelledPredictions
from stages.text.batches import LengthGroupedSampler, TokenBudgetBatches, TokenRows, pass_batch_through, sort_by_length
from stages.text.windows import find_first_windows, pool_windows
from stages.training.inputs import Inputs
from stages.training.resumable_trainer import ResumableTrainer

# The keys of the section that are not TrainingArguments' own, or that it gets in another form.
OWN_PARAMS = {
    "freeze_layers",
    "precision",
    "class_weights",
    "early_stopping_patience",
    "label_smoothing_factor",
    "dataloader_num_workers",
    "dataloader_pin_memory",
}


def make_trainer(
    inputs: Inputs, train: Train, seed: int, folder: Path, callbacks: list[TrainerCallback]
) -> "ClassifierTrainer":
    """A Trainer that validates and saves every `eval_steps` and at the end, and ends with the best of these models.

    `folder` takes the checkpoints. Names and meaning of the params are `TrainingArguments`' own.
    """
    workers = train.dataloader_num_workers if isinstance(inputs.rows["train"], TokenRows) else 0
    arguments = TrainingArguments(
        output_dir=str(folder),
        **train.model_dump(exclude=OWN_PARAMS),
        **precision_arguments(resolve_precision("train.precision", train.precision)),
        dataloader_num_workers=workers,
        dataloader_pin_memory=train.dataloader_pin_memory and pinnable(inputs.rows["train"]),
        seed=seed,
        eval_strategy="steps",
        save_strategy="steps",
        save_steps=train.eval_steps,
        restore_callback_states_from_checkpoint=True,
        load_best_model_at_end=True,
        greater_is_better=train.metric_for_best_model != "loss",
        remove_unused_columns=False,
        report_to="none",
    )
    callbacks = [*callbacks, ValidateLastStep()]
    if train.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(train.early_stopping_patience))
    labels, num_labels = inputs.rows["train"].labels, inputs.model.config.num_labels
    weights = balanced_weights(labels, num_labels) if train.class_weights == "balanced" else None
    return ClassifierTrainer(
        inputs,
        arguments,
        train_dataset=inputs.rows["train"],
        eval_dataset=inputs.rows["validation"],
        compute_loss_func=make_loss(weights, train.label_smoothing_factor),
        callbacks=callbacks,
    )


def pinnable(rows: Dataset) -> bool:
    """Whether there is a GPU to pin memory for, and batches are not made on it already."""
    return torch.cuda.is_available() and getattr(rows, "memory", None) is None


class ClassifierTrainer(ResumableTrainer):
    """Trainer for data sets of whole batches: trains in length groups, validates and predicts in token budgets.

    Runs the frozen half first where its outputs are not kept.
    """

    def __init__(self, inputs: Inputs, arguments: TrainingArguments, **kwargs: Any):
        self.frozen = inputs.frozen
        super().__init__(inputs.model, arguments, data_collator=pass_batch_through, **kwargs)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> LengthGroupedSampler:
        rows = self.train_dataset if train_dataset is None else train_dataset
        return LengthGroupedSampler(rows.lengths, self.args.train_batch_size, self.args.seed)

    def get_eval_dataloader(self, eval_dataset: Dataset | None = None) -> DataLoader:
        """Batches of as many tokens as `per_device_eval_batch_size` of the longest rows have, padding included."""
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        batches = TokenBudgetBatches(rows.lengths, self.args.eval_batch_size * int(rows.lengths.max()))
        loader = DataLoader(rows, batch_sampler=batches, collate_fn=pass_batch_through, pin_memory=pinnable(rows))
        return self.accelerator.prepare(loader)

    get_test_dataloader = get_eval_dataloader

    def _prepare_inputs(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        inputs = super()._prepare_inputs(inputs)
        return inputs if self.frozen is None else self.frozen(inputs)

    def evaluation_loop(self, dataloader: DataLoader, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Trainer's, in the order of the documents, whose windows are pooled; metrics and loss are over all of them.

        Trainer's own loss is the mean over batches, which differ in size.
        """
        output = super().evaluation_loop(dataloader, *args, **kwargs | {"prediction_loss_only": False})
        rows = dataloader.dataset
        logits = np.empty_like(output.predictions, dtype=np.float32)
        logits[sort_by_length(rows.lengths)] = output.predictions
        logits, labels = pool_windows(logits, rows.documents), rows.labels[find_first_windows(rows.documents)]
        if self.compute_loss_func is not None:
            loss = self.compute_loss_func({"logits": torch.from_numpy(logits)}, torch.from_numpy(labels))
            metrics = compute_metrics(LabelledPredictions(logits, labels)) | {"loss": loss.item()}
            prefix = kwargs["metric_key_prefix"]
            output.metrics.update({f"{prefix}_{name}": value for name, value in metrics.items()})
        return output._replace(predictions=logits, label_ids=labels)


class ValidateLastStep(TrainerCallback):
    """Lets the last model take part in the choice, also when the steps are no multiple of `eval_steps`."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == state.max_steps:
            control.should_evaluate = control.should_save = True


def precision_arguments(precision: str) -> dict[str, bool]:
    """`TrainingArguments` for a precision, on the GPU where there is one."""
    return {"bf16": precision == "bf16", "fp16": precision == "fp16", "use_cpu": not torch.cuda.is_available()}


def predict_logits(inputs: Inputs, split: str, evaluate: Evaluate) -> np.ndarray:
    """Scores `(D, C)` of the split's documents in float32, in their order, computed in batches of like length."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_eval_batch_size=evaluate.per_device_eval_batch_size,
            **precision_arguments(resolve_precision("evaluate.precision", evaluate.precision)),
            remove_unused_columns=False,
            report_to="none",
        )
        return ClassifierTrainer(inputs, arguments).predict(inputs.rows[split]).predictions


def balanced_weights(labels: np.ndarray, num_labels: int) -> torch.Tensor:
    """Weights `(C,)` inverse to class frequency, 1 on average over rows (scikit-learn's `balanced`)."""
    counts = np.bincount(labels, minlength=num_labels)
    return torch.tensor(len(labels) / (num_labels * counts), dtype=torch.float32)


def make_loss(weights: torch.Tensor | None, label_smoothing: float) -> Callable[..., torch.Tensor]:
    """Cross-entropy for Trainer: the sum over rows divided by the rows of all accumulated batches."""

    def loss(outputs: dict, labels: torch.Tensor, num_items_in_batch: torch.Tensor | None = None) -> torch.Tensor:
        logits = outputs["logits"].float()
        weight = None if weights is None else weights.to(logits.device)
        total = cross_entropy(logits, labels, weight, reduction="sum", label_smoothing=label_smoothing)
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    return loss


def find_best_validation(trainer: Trainer) -> dict[str, float]:
    """The validation of the checkpoint that Trainer chose: `step`, `epoch`, `loss` and all metrics.

    UserError when its loss is not a number.
    """
    validations = [row for row in trainer.state.log_history if "eval_loss" in row]
    best = next((row for row in validations if row["step"] == trainer.state.best_global_step), validations[-1])
    if not math.isfinite(best["eval_loss"]):  # Trainer chooses no checkpoint when the loss is NaN
        raise UserError(
            f"train.learning_rate: found {trainer.args.learning_rate:g}; with it the validation loss is not a number "
            f"({best['eval_loss']}). Use a smaller one, or another train.precision."
        )
    return {key.removeprefix("eval_"): value for key, value in best.items()}


def measure_speed(trainer: ResumableTrainer, tokens: int) -> dict[str, float]:
    """Seconds in the training loop, validation included, and its training samples and tokens (no padding) a second.

    `tokens` are those of an epoch; samples are rows of the training split, or their windows.
    """
    return {
        "loop_seconds": round(trainer.seconds, 2),
        "samples_per_second": round(trainer.state.epoch * len(trainer.train_dataset) / trainer.seconds, 1),
        "tokens_per_second": round(trainer.state.epoch * tokens / trainer.seconds, 1),
    }
