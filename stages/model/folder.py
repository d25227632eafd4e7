"""Facts about a model folder that are read from its files, without loading weights."""

from pathlib import Path

from stages.core.errors import UserError
from stages.core.files import read_json
from stages.core.param_types import FreezeLayers, Pooling
from stages.model.families import FAMILIES, find_family

POOLING_FILE = "1_Pooling/config.json"  # of sentence-transformers
# Its names for what the head may read here; with other modes, or several, auto is the first token.
POOLING_MODES: dict[str, Pooling] = {
    "cls": "first",
    "pooling_mode_cls_token": "first",
    "mean": "mean",
    "pooling_mode_mean_tokens": "mean",
}

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


def read_classifier(folder: Path) -> dict:
    """The config of a classifier that was made; UserError when there is none, or it is broken."""
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: has no model (no config.json); `dvc repro` makes models/classifier.")
    return read_config(folder)


def list_labels(config: dict) -> list[str]:
    """The names of the labels in a classifier's config, in the order of its logits; LABEL_0 ... where it has none."""
    names = config.get("id2label")
    if not isinstance(names, dict):
        return [f"LABEL_{number}" for number in range(config.get("num_labels", 2))]
    return [names[key] for key in sorted(names, key=int)]


def read_max_length(base: Path) -> int | None:
    """The most tokens that the model's position embeddings allow; None when there is no such limit."""
    config = read_config(base)
    positions = config.get("max_position_embeddings")
    if positions is not None and find_family(config.get("model_type")).positions_after_padding:
        positions -= config.get("pad_token_id", 1) + 1
    return positions


def read_pooling(base: Path) -> Pooling | None:
    """What the model was trained to read, by its file of sentence-transformers; None when that does not say it."""
    if not (base / POOLING_FILE).is_file():
        return None
    config = read_json(base / POOLING_FILE)
    if not isinstance(config, dict):
        return None
    modes = config.get("pooling_mode") or [key for key, value in config.items() if "pooling_mode_" in key and value]
    modes = [modes] if isinstance(modes, str) else modes
    return POOLING_MODES.get(str(modes[0])) if len(modes) == 1 else None


def choose_pooling(base: Path, freeze_layers: FreezeLayers) -> Pooling | None:
    """What the head of a new classifier reads, as `model.pooling` says; `base_model` wrote that into the config.

    For `auto` it is what the model's files say where all layers are frozen. Where layers train, and for families that
    are not known, it is None: what the classifier of Transformers reads, nearly always the first token.
    """
    config = read_config(base)
    if config.get("pooling"):
        return config["pooling"]
    layers = config.get("num_hidden_layers", config.get("n_layers"))
    is_frozen = freeze_layers == "all" or freeze_layers == layers
    return read_pooling(base) if is_frozen and config["model_type"] in FAMILIES else None


def find_head_pooling(classifier: Path) -> Pooling:
    """What the head of a saved classifier reads."""
    config = read_config(classifier)
    return "mean" if config.get(find_family(config["model_type"]).pooling) == "mean" else "first"


def has_token_types(base: Path) -> bool:
    """Whether the model distinguishes the two texts of a pair by `token_type_ids`."""
    return read_config(base).get("type_vocab_size", 0) > 1


def has_tokenizer(base: Path) -> bool:
    """Whether a model folder has a tokenizer; for a model from scratch `preprocess` may train it."""
    return any(any(base.glob(pattern)) for pattern in TOKENIZER_FILES)
