"""Configs of tiny random models, one of each family."""

from typing import Any

# Three layers, width 16.
SMALL = {
    "vocab_size": 600, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
FAMILIES = {
    "bert": SMALL,
    "distilbert": {"vocab_size": 600, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32,
                   "max_position_embeddings": 64},
    "roberta": SMALL | {"type_vocab_size": 1, "max_position_embeddings": 66, "pad_token_id": 1},
    "camembert": SMALL | {"max_position_embeddings": 66, "pad_token_id": 1},
    "xlm-roberta": SMALL | {"max_position_embeddings": 66, "pad_token_id": 1},
    "ernie": SMALL,
    "electra": SMALL | {"embedding_size": 8},
    "albert": SMALL | {"embedding_size": 8},
    "deberta-v2": SMALL | {"relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm",
                           "pos_att_type": "p2c|c2p", "type_vocab_size": 0, "pooler_hidden_size": 16},
    "modernbert": SMALL | {"local_attention": 8, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2,
                           "eos_token_id": 3},
}  # fmt: skip


def tiny_config(family: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(family, **FAMILIES[family])
