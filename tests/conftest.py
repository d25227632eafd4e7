"""What tests share: the project's params with changes, and a tiny random model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.lib.demo_corpus import make_reviews
from stages.lib.params import Params, read_yaml

ROOT = Path(__file__).parent.parent
# Tests start from the project's params, whatever data the user has set in them.
DEMO = {
    "data.source": "demo",
    "data.path": None,
    "data.sha256": None,
    "data.max_train_samples": None,
    "data.max_test_samples": None,
    "data.validation_fraction": 0.1,
}


def change(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Set dotted keys in nested dicts."""
    for key, value in changes.items():
        *sections, name = key.split(".")
        target = values
        for section in sections:
            target = target[section]
        target[name] = value
    return values


@pytest.fixture
def write_params(tmp_path: Path) -> Callable[..., Path]:
    """Write the project's params.yaml with changes to `tmp_path`."""

    def write(changes: dict[str, Any] | None = None) -> Path:
        path = tmp_path / "params.yaml"
        values = change(read_yaml(ROOT / "params.yaml"), DEMO | (changes or {}))
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    return write


@pytest.fixture
def params(write_params: Callable[..., Path]) -> Callable[..., Params]:
    """The project's params with changes."""
    return lambda changes=None: Params.load(write_params(changes))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is current directory and main checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random BERT of two layers and a WordPiece tokenizer for the demo corpus."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import BertProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny") / "bert"
    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator((text for text, _ in make_reviews("train", 0)[:500]), vocab_size=600)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = BertProcessing(*ends)
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder
