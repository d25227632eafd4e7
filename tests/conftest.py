"""What tests share: the default params with changes, a tiny random model, and a finished pipeline."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from support.gpu import hide_gpus
from support.project import make_params
from support.warm_python import SHARED, find_python

from stages.core.params import Params
from stages.data.demo_corpus import make_reviews
from stages.text.tokenizer import train_tokenizer

hide_gpus()  # no import starts CUDA
os.environ["STAGES_WARM"] = ""  # whoever runs `python -m stages.warm` does not run the tests' commands in it
os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight processes for each server, not needed here

# Files of tests that take minutes begin first, so that none is left alone at the end.
LONG = "ranks pipeline studies gate verify sync tracking_server interruptions s3 workflows stages_on_gpu".split()
LONG += "rank_failures export bad_input outages parallel".split()


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "numprocesses", None):  # one for all processes of tests
        find_python()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"test_{name}": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))


@pytest.fixture
def write_params(tmp_path: Path) -> Callable[..., Path]:
    """Write a params.yaml to `tmp_path`: the defaults with changes."""

    def write(changes: dict[str, Any] | None = None) -> Path:
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(make_params(changes or {}), sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def params(write_params: Callable[..., Path]) -> Callable[..., Params]:
    """The default params with changes."""
    return lambda changes=None: Params.load(write_params(changes))


@pytest.fixture
def warm_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that the tested code starts with its own Python, such as senders, have the libraries already."""
    monkeypatch.setattr(sys, "executable", str(find_python()))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is current directory and main checkout.

    Among all tests, senders have the libraries already; alone, their server would take longer than they do.
    """
    if SHARED in os.environ:
        monkeypatch.setattr(sys, "executable", str(find_python()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # mlflow.set_tracking_uri of an earlier test sets it
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
def share_checkout(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[..., Any]:
    """`share_checkout(name, make)` copies the checkout that `make(folder)` makes once for all processes of tests."""
    from support.checkout import Checkout

    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent

    def share(name: str, make: Callable[[Path], None]) -> Checkout:
        done, folder = shared / f"{name}.done", shared / name
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                make(folder)
                done.touch()
        return Checkout(folder).copy(tmp_path_factory.mktemp(name) / "checkout")

    return share


@pytest.fixture(scope="session")
def finished(share_checkout: Callable[..., Any], request: pytest.FixtureRequest) -> Any:
    """A committed checkout after `dvc repro`; tests leave it as it is, or take a `copy`."""
    from support.checkout import Checkout

    def make(folder: Path) -> None:
        folder.mkdir()
        checkout = Checkout.make(folder, request.getfixturevalue("tiny_model"))
        checkout.run("dvc", "repro")
        checkout.run("git", "add", "-A")
        checkout.run("git", "commit", "-qm", "finished")

    return share_checkout("finished", make)


@pytest.fixture(scope="session")
def experimented(share_checkout: Callable[..., Any], finished: Any) -> Any:
    """The same after the experiment `first`, which freezes a layer; tests leave it as it is, or take a `copy`."""

    def make(folder: Path) -> None:
        checkout = finished.copy(folder)
        checkout.run("dvc", "exp", "run", "-n", "first", "-S", "train.freeze_layers=1")

    return share_checkout("experimented", make)


@pytest.fixture
def tokenized(workspace: Path, write_params: Callable[..., Path], tiny_model: Path) -> Path:
    """A workspace after `preprocess`, with forty demo reviews to train on and the tiny model."""
    from stages import base_model, download, preprocess

    write_params({"data.max_train_samples": 40, "data.max_test_samples": 10, "model.name": str(tiny_model)})
    for stage in (download, base_model, preprocess):
        stage.main()
    return workspace
