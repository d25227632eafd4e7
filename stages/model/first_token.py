"""A last layer that computes only the first token, for heads that read nothing else."""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import dropout, linear

# Paths of query, key, value and dropout of the attention, for each kind of layer whose scores have no rotated keys.
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

    `kind` is a key of PROJECTIONS, or `deberta` or `modernbert`. Their scores depend on relative positions in a way
    that needs the keys, which cost D² more.
    """

    def __init__(self, layer: nn.Module, kind: str, num_heads: int):
        super().__init__()
        self._modules = layer._modules  # so that parameters keep their names
        self.kind, self.num_heads, self.training = kind, num_heads, layer.training
        self.attention_type = getattr(layer, "attention_type", None)  # by which ModernBERT picks the layer's mask

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """`attention_mask` is what transformers makes for the layer: bool, 0 and 1, or additive, `(B, 1, T, T)`.

        It is None when everything is read. What comes back is in the form of the layer's own output: a tensor, or a
        tuple that begins with it.
        """
        part, first = self.get_submodule, hidden_states[:, :1]
        if self.kind == "modernbert":
            context = self.attend_rotated(part("attn_norm")(hidden_states), attention_mask, **kwargs)
            attended = part("attn.out_drop")(part("attn.Wo")(context)) + first
            return attended + part("mlp")(part("mlp_norm")(attended))
        if self.kind == "deberta":
            context = self.attend_disentangled(hidden_states, attention_mask, **kwargs)
            attended = part("attention.output")(context, first)
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
        hidden = hidden.to(q.dtype)
        scores = torch.einsum("bhi,hid->bhd", q, k_weight) @ hidden.mT + (q * k_bias).sum(-1, keepdim=True)  # (B, H, T)
        scores = scores.float() * q.shape[-1] ** -0.5
        if bias is not None:
            scores = scores + bias[:, :, 0]
        return self.read_values(hidden, scores, mask, *split_heads(value, self.num_heads), attention_dropout.p)

    def attend_rotated(
        self, hidden: torch.Tensor, mask: torch.Tensor | None, position_embeddings: Any, **_: Any
    ) -> torch.Tensor:
        """ModernBERT's: `position_embeddings`, cosines and sines, `(1, T, D / H)` each, rotate the keys."""
        attention: Any = self.get_submodule("attn")
        weights = attention.Wqkv.weight.chunk(3)
        biases = attention.Wqkv.bias.chunk(3) if attention.Wqkv.bias is not None else (None, None, None)
        query, key = (
            linear(states, weight, bias).unflatten(-1, (self.num_heads, -1))
            for states, weight, bias in zip((hidden[:, :1], hidden), weights[:2], biases[:2], strict=True)
        )  # (B, 1, H, D / H), (B, T, H, D / H)
        cos, sin = (values.unsqueeze(2) for values in position_embeddings)
        hidden = hidden.to(key.dtype)
        left, right = key.float().chunk(2, -1)
        key = key * cos.float() + torch.cat((-right, left), -1) * sin
        scores = (query * cos[:, :1] * key).sum(-1).mT * query.shape[-1] ** -0.5  # the first position's angle is 0
        v_weight = weights[2].unflatten(0, (self.num_heads, -1))
        v_bias = torch.zeros_like(v_weight[..., 0]) if biases[2] is None else biases[2].view(self.num_heads, -1)
        return self.read_values(hidden, scores, mask, v_weight, v_bias, attention.attention_dropout)

    def attend_disentangled(
        self, hidden: torch.Tensor, mask: torch.Tensor | None, relative_pos: Any, rel_embeddings: Any, **_: Any
    ) -> torch.Tensor:
        """DeBERTa's: content reads content, and each reads the other's relative position (arXiv:2006.03654, section 3).

        `relative_pos`, `(1, T, T)`, are the distances from query to key, and `rel_embeddings`, `(2 * span, D)`, has a
        row for each distance from -span on.
        """
        attention: Any = self.get_submodule("attention.self")
        heads, kinds, shared = (self.num_heads, -1), attention.pos_att_type, attention.share_att_key
        query = attention.query_proj(hidden[:, :1]).unflatten(-1, heads)  # (B, 1, H, D / H)
        key = attention.key_proj(hidden).unflatten(-1, heads)  # (B, T, H, D / H)
        scale = (query.shape[-1] * (1 + ("c2p" in kinds) + ("p2c" in kinds))) ** -0.5
        scores: Any = 0
        if attention.relative_attention:
            span, embeddings = attention.pos_ebd_size, attention.pos_dropout(rel_embeddings)
            if "c2p" in kinds:
                project = attention.key_proj if shared else attention.pos_key_proj
                positions = embeddings[(relative_pos[0, 0] + span).clamp(0, 2 * span - 1)]  # (T, D)
                scores = (query * project(positions).unflatten(-1, heads)).sum(-1, dtype=torch.float32)
            if "p2c" in kinds:
                project = attention.query_proj if shared else attention.pos_query_proj
                positions = embeddings[(span - relative_pos[0, :, 0]).clamp(0, 2 * span - 1)]
                query = query + project(positions).unflatten(-1, heads)
        scores = (scores + (query * key).sum(-1, dtype=torch.float32)).mT * scale
        value, mask = split_heads(attention.value_proj, self.num_heads), None if mask is None else mask.bool()
        return self.read_values(hidden.to(key.dtype), scores, mask, *value, attention.dropout.p)

    def read_values(
        self,
        hidden: torch.Tensor,
        scores: torch.Tensor,
        mask: torch.Tensor | None,
        v_weight: torch.Tensor,
        v_bias: torch.Tensor,
        dropout_share: float,
    ) -> torch.Tensor:
        """The values of all positions, weighted by softmax of the scores, `(B, H, T)`: `(B, 1, D)`."""
        if mask is not None:
            first = mask[:, :, 0]
            scores = scores.masked_fill(~first, -torch.inf) if first.dtype == torch.bool else scores + first
        weights = dropout(scores.softmax(-1), dropout_share, self.training)
        mixed = weights.to(hidden.dtype) @ hidden  # (B, H, D)
        context = torch.einsum("bhd,hid->bhi", mixed, v_weight) + weights.sum(-1, keepdim=True) * v_bias
        return context.flatten(1).unsqueeze(1).to(hidden.dtype)


def split_heads(projection: nn.Module, num_heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight `(H, D / H, D)` and bias `(H, D / H)` of a projection."""
    weight, bias = projection.get_parameter("weight"), projection.get_parameter("bias")
    return weight.unflatten(0, (num_heads, -1)), bias.unflatten(0, (num_heads, -1))
