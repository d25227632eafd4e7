"""The classifier before its training."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase, enable_full_determinism, set_seed

from stages.core.param_sections import Train
from stages.core.problem_type import Task
from stages.evaluation.metrics import require_metric
from stages.model.classifier import build_classifier
from stages.model.freezing import freeze


def build_initial_model(
    base: Path, task: Task, tokenizer: PreTrainedTokenizerBase, train: Train, seed: int
) -> PreTrainedModel:
    """The classifier with frozen layers, before its training; the seed decides the weights of its head.

    UserError for a metric that a validation of this task does not have.
    """
    require_metric("train.metric_for_best_model", train.metric_for_best_model, task)
    if train.full_determinism:
        enable_full_determinism(seed)
    else:
        set_seed(seed)
    model = build_classifier(base, task.labels, tokenizer, train.freeze_layers, task.problem_type, task.is_ordinal)
    freeze(model, train.freeze_layers)
    return model
