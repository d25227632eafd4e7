"""Attention for inference on a CPU, in half the time of PyTorch's own."""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

SCORES = 800_000  # computed at once: the fastest number of those that were tried; it fits the second-level cache


def use_chunked_attention(model: PreTrainedModel) -> None:
    """Let a model compute its attention with `attend_in_chunks`."""
    AttentionInterface.register("in_chunks", attend_in_chunks)
    AttentionMaskInterface.register("in_chunks", sdpa_mask)
    model.set_attn_implementation("in_chunks")


def attend_in_chunks(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """Softmax attention in chunks of rows, or of heads where one row is too long: `(B, H, T, d)` → `(B, T, H, d)`.

    `mask` is bool, `(B, 1, T, T)`, true where positions are read. With bf16 and 128 tokens this took 3.8 ms, and
    PyTorch's `scaled_dot_product_attention` 8.0 ms (32 rows, 12 heads of 32, 2 cores with AVX512-BF16).
    """
    (rows, heads, length, size), scaling = query.shape, kwargs.get("scaling") or query.shape[-1] ** -0.5
    query, key, value = (query * scaling).contiguous(), key.contiguous(), value.contiguous()
    rows_at_once = max(SCORES // (heads * length**2), 1)
    heads_at_once = min(max(SCORES // length**2, 1), heads)
    output = torch.empty(rows, length, heads, size, dtype=value.dtype)
    for row in range(0, rows, rows_at_once):
        for head in range(0, heads, heads_at_once):
            part = slice(row, row + rows_at_once), slice(head, head + heads_at_once)
            scores = query[part] @ key[part].mT
            if mask is not None:
                # Not -inf: its softmax is NaN where nothing is read, as at padding outside of a local layer's window.
                scores.masked_fill_(~mask[part[0]], torch.finfo(scores.dtype).min)
            output[part[0], :, part[1]] = (scores.softmax(-1) @ value[part]).transpose(1, 2)
    return output, None
