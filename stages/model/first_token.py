"""A last layer that computes only the first token, for heads that read nothing else."""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import dropout

# Paths of query, key, value and dropout of the attention, for each kind of layer whose products are regrouped.
PROJECTIONS = {
    "bert": ("attention.self.query", "attention.self.key", "attention.self.value", "attention.self.dropout"),
    "distilbert": ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.dropout"),
    "mpnet": ("attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.dropout"),
}


class FirstTokenLayer(nn.Module):
    """`layer` for its first position alone, `(B, T, D)` → `(B, 1, D)`: the same parameters and, to rounding, results.

    When only one position is read, each head has one query, and products can be regrouped: q·(Kx + b) = (Kᵀq)·x + q·b
    and Σ p (Vx + b) = V (Σ p x) + b Σ p (the regrouping that DeepSeek-V2 calls absorption, arXiv:2405.04434,
    section 2.1.2). Neither keys nor values are computed, and a position costs 2HD multiplications for H heads, where
    keys and values alone cost 2D² and the feed-forward part 8D².

    `kind` is a key of PROJECTIONS, or `deberta` or `modernbert`: there the scores depend on relative positions, so the
    layer's own attention runs for all positions (4D²), and only what follows it for the first alone.
    """

    def __init__(self, layer: nn.Module, kind: str, num_heads: int):
        super().__init__()
        self._modules = layer._modules  # so that parameters keep their names
        self.kind, self.num_heads, self.training = kind, num_heads, layer.training
        self.attention_type = getattr(layer, "attention_type", None)  # by which ModernBERT picks the layer's mask

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """`attention_mask` is what transformers makes for the layer: bool or additive, `(B, 1, T, T)`, or None.

        What comes back is in the form of the layer's own output: a tensor, or a tuple that begins with it.
        """
        part, first = self.get_submodule, hidden_states[:, :1]
        if self.kind == "modernbert":
            attended = part("attn")(part("attn_norm")(hidden_states), attention_mask=attention_mask, **kwargs)[0]
            attended = attended[:, :1] + first
            return attended + part("mlp")(part("mlp_norm")(attended))
        if self.kind == "deberta":
            context = part("attention.self")(hidden_states, attention_mask, **kwargs)[0]
            attended = part("attention.output")(context[:, :1], first)
            return part("output")(part("intermediate")(attended), attended), None
        context = self.attend(hidden_states, attention_mask, args[0] if self.kind == "mpnet" else None)
        if self.kind == "mpnet":
            context = part("attention.dropout")(part("attention.attn.o")(context))
            attended = part("attention.LayerNorm")(context + first)
            return (part("output")(part("intermediate")(attended), attended),)
        if self.kind == "distilbert":
            attended = part("sa_layer_norm")(part("attention.out_lin")(context) + first)
            return part("output_layer_norm")(part("ffn")(attended) + attended)
        attended = part("attention.output")(context, first)
        return part("output")(part("intermediate")(attended), attended)

    def attend(self, hidden: torch.Tensor, mask: torch.Tensor | None, bias: torch.Tensor | None = None) -> torch.Tensor:
        """What the first position's attention reads from all positions, `(B, 1, D)`.

        `bias`, `(B, H, T, T)`, is added to the scores.
        """
        query, key, value, attention_dropout = (self.get_submodule(path) for path in PROJECTIONS[self.kind])
        assert isinstance(attention_dropout, nn.Dropout)
        q = query(hidden[:, 0]).unflatten(-1, (self.num_heads, -1))  # (B, H, D / H)
        k_weight, k_bias = split_heads(key, self.num_heads)
        v_weight, v_bias = split_heads(value, self.num_heads)
        absorbed = torch.einsum("bhi,hid->bhd", q, k_weight)
        scores = absorbed @ hidden.mT.to(absorbed.dtype) + (q * k_bias).sum(-1, keepdim=True)  # (B, H, T)
        scores = scores.float() * q.shape[-1] ** -0.5
        if bias is not None:
            scores = scores + bias[:, :, 0]
        if mask is not None:
            first = mask[:, :, 0]
            scores = scores.masked_fill(~first, -torch.inf) if first.dtype == torch.bool else scores + first
        weights = dropout(scores.softmax(-1), attention_dropout.p, self.training)
        mixed = weights.to(absorbed.dtype) @ hidden.to(absorbed.dtype)  # (B, H, D)
        context = torch.einsum("bhd,hid->bhi", mixed, v_weight) + weights.sum(-1, keepdim=True) * v_bias
        return context.flatten(1).unsqueeze(1).to(absorbed.dtype)


def split_heads(projection: nn.Module, num_heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight `(H, D / H, D)` and bias `(H, D / H)` of a projection."""
    weight, bias = projection.get_parameter("weight"), projection.get_parameter("bias")
    return weight.unflatten(0, (num_heads, -1)), bias.unflatten(0, (num_heads, -1))
