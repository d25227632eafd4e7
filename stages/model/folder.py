"""Facts about a model folder that are read from its files, without loading weights."""

from pathlib import Path

from stages.core.files import read_json
from stages.model.families import find_family

TOKENIZER_FILES = [
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "spiece.model",
    "sentencepiece*.model",
    "spm.model",
]


def read_config(base: Path) -> dict:
    """The config of a model folder; UserError when it is missing or broken."""
    return read_json(base / "config.json", ["model_type"])


def read_max_length(base: Path) -> int | None:
    """The most tokens that the model's position embeddings allow; None when there is no such limit."""
    config = read_config(base)
    positions = config.get("max_position_embeddings")
    if positions is not None and find_family(config.get("model_type")).positions_after_padding:
        positions -= config.get("pad_token_id", 1) + 1
    return positions


def has_token_types(base: Path) -> bool:
    """Whether the model distinguishes the two texts of a pair by `token_type_ids`."""
    return read_config(base).get("type_vocab_size", 0) > 1


def has_tokenizer(base: Path) -> bool:
    """Whether a model folder has a tokenizer; for a model from scratch `preprocess` may train it."""
    return any(any(base.glob(pattern)) for pattern in TOKENIZER_FILES)
