"""What `transformers.Trainer` needs from us."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from stages.lib.batches import LengthGroupedSampler, PaddingCollator, TokenRows, by_length
from stages.lib.errors import UserError
from stages.lib.metrics import compute_metrics
from stages.lib.params import Evaluate, Train

# The keys of the section that are not TrainingArguments' own, or that it gets in another form.
OWN_PARAMS = {
    "freeze_layers",
    "precision",
    "class_weights",
    "early_stopping_patience",
    "label_smoothing_factor",
    "dataloader_pin_memory",
}


def make_trainer(
    model: PreTrainedModel,
    data: datasets.DatasetDict,
    tokenizer: PreTrainedTokenizerBase,
    train: Train,
    seed: int,
    folder: Path,
    callbacks: list[TrainerCallback],
) -> Trainer:
    """A Trainer that validates and saves every `eval_steps` and at the end, and ends with the best of these models.

    `folder` takes the checkpoints. Names and meaning of the params are `TrainingArguments`' own.
    """
    arguments = TrainingArguments(
        output_dir=str(folder),
        **train.model_dump(exclude=OWN_PARAMS),
        **precision_arguments("train.precision", train.precision),
        dataloader_pin_memory=train.dataloader_pin_memory and torch.cuda.is_available(),
        seed=seed,
        eval_strategy="steps",
        save_strategy="steps",
        save_steps=train.eval_steps,
        save_only_model=True,
        save_total_limit=1,
        load_best_model_at_end=True,
        greater_is_better=train.metric_for_best_model != "loss",
        dataloader_persistent_workers=train.dataloader_num_workers > 0,
        report_to="none",
    )
    callbacks = [*callbacks, ValidateLastStep()]
    if train.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(train.early_stopping_patience))
    labels = np.asarray(data["train"].data.column("labels"))
    weights = balanced_weights(labels, model.config.num_labels) if train.class_weights == "balanced" else None
    return LengthGroupingTrainer(
        model,
        arguments,
        data_collator=PaddingCollator(tokenizer.pad_token_id),
        train_dataset=TokenRows(data["train"]),
        eval_dataset=TokenRows(data["validation"], by_length(data["validation"])),
        compute_loss_func=make_loss(weights, train.label_smoothing_factor),
        compute_metrics=lambda prediction: compute_metrics(prediction.predictions, prediction.label_ids),
        callbacks=callbacks,
    )


class LengthGroupingTrainer(Trainer):
    """Trainer with our sampler."""

    def _get_train_sampler(self, train_dataset: TokenRows | None = None) -> LengthGroupedSampler:
        rows = self.train_dataset if train_dataset is None else train_dataset
        return LengthGroupedSampler(rows.lengths, self.args.train_batch_size)


class ValidateLastStep(TrainerCallback):
    """Lets the last model take part in the choice, also when the steps are no multiple of `eval_steps`."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == state.max_steps:
            control.should_evaluate = control.should_save = True


def resolve_precision(key: str, wanted: str) -> str:
    """`auto` as what this machine does in hardware: bf16, else fp16 on a GPU, else fp32.

    UserError for fp16 without a GPU: a CPU has no loss scaling to make up for its range.
    """
    gpu = torch.cuda.is_available()
    if wanted == "fp16" and not gpu:
        raise UserError(f"{key}: found fp16; it needs a GPU, and this machine has none. Use auto, bf16 or fp32.")
    if wanted == "bf16" and gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(f"{key}: found bf16; {torch.cuda.get_device_name()} has none in hardware. Use auto or fp16.")
    if wanted != "auto":
        return wanted
    if gpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"


def precision_arguments(key: str, wanted: str) -> dict[str, bool]:
    """`TrainingArguments` for a precision, on the GPU where there is one."""
    precision = resolve_precision(key, wanted)
    return {"bf16": precision == "bf16", "fp16": precision == "fp16", "use_cpu": not torch.cuda.is_available()}


def predict_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, split: datasets.Dataset, evaluate: Evaluate
) -> np.ndarray:
    """Logits `(N, C)` in float32, in the order of the split's rows, computed in batches of like length."""
    order = by_length(split)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_eval_batch_size=evaluate.per_device_eval_batch_size,
            **precision_arguments("evaluate.precision", evaluate.precision),
            dataloader_pin_memory=torch.cuda.is_available(),
            report_to="none",
        )
        trainer = Trainer(model, arguments, data_collator=PaddingCollator(tokenizer.pad_token_id))
        predictions = trainer.predict(TokenRows(split, order)).predictions
    logits = np.empty_like(predictions, dtype=np.float32)
    logits[order] = predictions
    return logits


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


def best_validation(trainer: Trainer) -> dict[str, float]:
    """Validation loss and accuracy of the checkpoint that Trainer chose."""
    state = trainer.state
    best = next(row for row in state.log_history if row["step"] == state.best_global_step and "eval_loss" in row)
    return {f"validation_{name}": best[f"eval_{name}"] for name in ("loss", "accuracy")}


def speed(trainer: Trainer, train_statistics: dict[str, Any]) -> dict[str, float]:
    """Seconds in the training loop, validation included, and training samples and tokens (no padding) a second."""
    seconds = next(row["train_runtime"] for row in reversed(trainer.state.log_history) if "train_runtime" in row)
    return {
        "loop_seconds": round(seconds, 2),
        "samples_per_second": round(trainer.state.epoch * train_statistics["rows"] / seconds, 1),
        "tokens_per_second": round(trainer.state.epoch * train_statistics["tokens"] / seconds, 1),
    }
