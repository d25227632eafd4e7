"""The arguments of `transformers.Trainer`, from the section `train` of params.yaml."""

from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from stages.core import ranks
from stages.core.hardware import resolve_precision
from stages.core.metric_names import LOWER_IS_BETTER
from stages.core.param_sections import FITTED_AFTER_TRAINING, Train
from stages.text.batches import RowDataset, TokenRows
from stages.training.prediction import find_all_rows, is_pinnable

# Keys of the section `train` that TrainingArguments does not have, or gets in another form.
OWN_PARAMS = {
    "freeze_layers",
    "seed",
    "precision",
    "class_weights",
    "early_stopping_patience",
    "label_smoothing_factor",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    *FITTED_AFTER_TRAINING,
}


def make_arguments(train: Train, rows: RowDataset, seed: int, folder: Path) -> TrainingArguments:
    """The arguments for a training on these rows, with checkpoints in `folder`.

    Names and meaning of the params are those of `TrainingArguments`; `train` has a number for each `auto`.
    """
    return OneGpuArguments(
        output_dir=str(folder),
        **train.model_dump(exclude=OWN_PARAMS),
        **make_precision_arguments(resolve_precision("train.precision", train.precision)),
        dataloader_num_workers=train.dataloader_num_workers if is_read_by_workers(rows) else 0,
        dataloader_pin_memory=train.dataloader_pin_memory and is_pinnable(rows),
        seed=seed,
        eval_strategy="steps",
        save_strategy="steps",
        save_steps=train.eval_steps,
        restore_callback_states_from_checkpoint=True,
        load_best_model_at_end=True,
        greater_is_better=train.metric_for_best_model not in LOWER_IS_BETTER,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=ranks.get_rank() > 0,
    )


class OneGpuArguments(TrainingArguments):
    """Keeps Trainer from splitting batches over all visible GPUs with `nn.DataParallel`.

    That fails in half precision. In fp32 it trains with larger batches, fewer steps and doubled gradients
    (https://github.com/huggingface/transformers/issues/37474). `take_gpu` hides the others, unless CUDA has started.
    """

    @property
    def n_gpu(self) -> int:
        return min(super().n_gpu, 1)


def make_precision_arguments(precision: str) -> dict[str, Any]:
    """`TrainingArguments` for a precision, on the GPU when there is one."""
    return {"bf16": precision == "bf16", "fp16": precision == "fp16", "use_cpu": not torch.cuda.is_available()}


def is_read_by_workers(rows: RowDataset) -> bool:
    """Whether other processes help to make batches: of tokens, and with a GPU of features that are on disk.

    Features in memory are gathered faster than a batch is sent, and on a CPU workers take cores from the training.
    """
    return isinstance(find_all_rows(rows), TokenRows) or is_pinnable(rows)
