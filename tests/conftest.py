"""What tests share: the project's params with changes, a tiny random model, and a finished pipeline."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from stages.lib.demo_corpus import make_reviews
from stages.lib.params import Params
from stages.lib.tokenizer import train_tokenizer
from stages.lib.yaml12 import read_yaml

ROOT = Path(__file__).parent.parent
# Tests start from the project's params, whatever data the user has set in them.
DEMO = {
    "data.source": "demo",
    "data.path": None,
    "data.config": None,
    "data.revision": None,
    "data.sha256": None,
    "data.max_size_gb": 10,
    "data.splits": None,
    "data.text_column": "text",
    "data.text_pair_column": None,
    "data.label_column": "label",
    "data.label_names": None,
    "data.encoding": "utf-8",
    "data.header": True,
    "data.delimiter": ",",
    "data.quotechar": '"',
    "data.on_bad_rows": "error",
    "data.on_leak": "warn",
    "data.test_fraction": 0.1,
    "data.max_train_samples": None,
    "data.max_test_samples": None,
    "data.validation_fraction": 0.1,
    "model.pretrained": True,
    "model.tokenizer": "pretrained",
    "model.dropout": None,
}
# A tiny random model of each family: three layers, width 16.
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
# Files of tests that take minutes begin first, so that none is left alone at the end.
LONG = ("outages", "pipeline", "gate_command", "interruptions", "sync", "parallel", "s3", "verify", "hub", "preview")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"test_{name}": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))


def tiny_config(family: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(family, **FAMILIES[family])


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
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
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
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny") / "bert"
    train_tokenizer(lambda: (text for text, _ in make_reviews("train", 0)[:500]), 600).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=128,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str, request: pytest.FixtureRequest) -> Any:
    """A committed checkout after `dvc repro`; tests leave it as it is, or take a `copy`.

    The first process of tests that needs it makes it, in the folder that all of them share.
    """
    from checkout import Checkout

    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    done, folder = shared / "finished.done", shared / "finished"
    with FileLock(shared / "finished.lock"):
        if not done.exists():
            folder.mkdir()
            checkout = Checkout.make(folder, request.getfixturevalue("tiny_model"))
            checkout.run("dvc", "repro", CUDA_VISIBLE_DEVICES="")  # on a CPU the bytes can be repeated
            checkout.run("git", "add", "-A")
            checkout.run("git", "commit", "-qm", "finished")
            done.touch()
    return Checkout(folder).copy(tmp_path_factory.mktemp("finished") / "checkout")


@pytest.fixture
def tokenized(workspace: Path, write_params: Callable[..., Path], tiny_model: Path) -> Path:
    """A workspace after `preprocess`, with forty demo reviews to train on and the tiny model."""
    from stages import base_model, download, preprocess

    write_params({"data.max_train_samples": 40, "data.max_test_samples": 10, "model.name": str(tiny_model)})
    for stage in (download, base_model, preprocess):
        stage.main()
    return workspace
