"""What the head of a classifier reads of its encoder's outputs: the first token, or the mean over all tokens."""

import torch
from transformers import PreTrainedConfig

from stages.core.param_types import Pooling
from stages.model.families import find_family

POOLINGS: dict[str, Pooling] = {"first": "first", "cls": "first", "mean": "mean"}  # by what a config calls them


def find_pooling(config: PreTrainedConfig) -> Pooling | None:
    """What the head of a classifier with this config reads; None when it is not known."""
    return POOLINGS.get(str(getattr(config, find_family(config.model_type).pooling, None) or "first"))


def pool(hidden: torch.Tensor, mask: torch.Tensor | None, pooling: Pooling) -> torch.Tensor:
    """The first token's vector, or the mean of the row's tokens: `(B, T, D)` → `(B, 1, D)`, in the same type.

    `mask` is `(B, T)`, 1 at tokens and 0 at padding; None when nothing is padded. The mean is summed in fp32: a sum of
    hundreds of tokens in bf16 would lose its last digits, and in fp16 it could overflow.
    """
    if pooling == "first":
        return hidden[:, :1]
    if mask is None:
        return hidden.float().mean(1, keepdim=True).to(hidden.dtype)
    weights = mask.unsqueeze(-1).float()
    return ((hidden.float() * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)).to(hidden.dtype)
