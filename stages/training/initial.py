"""The classifier before its training."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase, enable_full_determinism, set_seed

from stages.core.param_sections import Train
from stages.core.problem_type import ProblemType
from stages.model.classifier import build_classifier
from stages.model.freezing import freeze


def build_initial_model(
    base: Path,
    labels: list[str],
    problem_type: ProblemType,
    tokenizer: PreTrainedTokenizerBase,
    train: Train,
    seed: int,
) -> PreTrainedModel:
    """The classifier with frozen layers, before its training; the seed decides the weights of its head."""
    if train.full_determinism:
        enable_full_determinism(seed)
    else:
        set_seed(seed)
    model = build_classifier(base, labels, tokenizer, train.freeze_layers, problem_type)
    freeze(model, train.freeze_layers)
    return model
