"""Configs of tiny random models, one of each family, and of others that differ from it."""

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
    "mpnet": SMALL | {"max_position_embeddings": 66, "pad_token_id": 1},
}  # fmt: skip
# Of a family, with changes: models that people use, and parts that a config can add or leave out.
VARIANTS = {
    "bge, e5: bert": ("bert", {"position_embedding_type": "absolute", "classifier_dropout": None}),
    "multilingual-e5, bge-m3: xlm-roberta": ("xlm-roberta", {"type_vocab_size": 1}),
    "multilingual minilm: bert": ("bert", {"pad_token_id": 0, "vocab_size": 900, "num_attention_heads": 4}),
    "deberta-v2-xlarge: convolution": ("deberta-v2", {"conv_kernel_size": 3, "conv_act": "gelu"}),
    "deberta-v3: shared projections": ("deberta-v2", {"share_att_key": True, "position_biased_input": False}),
    "deberta-v2 of one kind of position": ("deberta-v2", {"pos_att_type": "c2p"}),
    "deberta-v2 without relative positions": ("deberta-v2", {"relative_attention": False}),
    "modernbert with the mean": ("modernbert", {"classifier_pooling": "mean"}),
    "modernbert with biases": ("modernbert", {"attention_bias": True, "mlp_bias": True, "norm_bias": True}),
    "electra of one width": ("electra", {"embedding_size": 16}),
    "albert of two groups": ("albert", {"num_hidden_groups": 2, "num_hidden_layers": 4}),
}  # fmt: skip


def tiny_config(name: str) -> Any:
    """The config of a family or variant."""
    from transformers import AutoConfig

    family, changes = VARIANTS.get(name, (name, {}))
    return AutoConfig.for_model(family, **FAMILIES[family] | changes)
