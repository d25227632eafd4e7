import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from support.tiny_models import tiny_config
from transformers import AutoModelForSequenceClassification

from stages.core.cache import FolderCache
from stages.model.partition import FrozenEncoder
from stages.text.batches import TokenRows
from stages.training import feature_cache
from stages.training.feature_cache import cache_features, count_feature_bytes


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 600, length).tolist() for length in rng.integers(1, 40, 50)]
    return TokenRows(Dataset.from_dict({"input_ids": ids, "labels": rng.integers(0, 2, 50)}), 0)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(tiny_config("bert"))


@pytest.fixture
def cache(tmp_path):
    return FolderCache(tmp_path, 10**9)


@pytest.fixture(params=["one shard", "many shards"], autouse=True)
def shard_bytes(request, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD_BYTES", 2**30 if request.param == "one shard" else 5000)


def compute_alone(frozen, rows, index):
    """Features of one row, computed alone."""
    return frozen(rows.__getitems__([index]))["inputs_embeds"][0, : rows.lengths[index]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("freeze_layers", [1, "all"])
def test_cached_features_are_those_of_each_row(rows, model, cache, freeze_layers, dtype):
    frozen = FrozenEncoder(model, freeze_layers, dtype)
    features, report = cache_features(frozen, rows, "train", cache)
    assert (report["train_hit"], report["train_bytes"]) == (0, count_feature_bytes(frozen, rows))
    batch = features.__getitems__([7, 3, 40])
    assert batch["labels"].tolist() == rows.labels[[7, 3, 40]].tolist()
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    for index, hidden in zip([7, 3, 40], batch["inputs_embeds"], strict=True):
        expected = compute_alone(frozen, rows, index)
        assert hidden.dtype == dtype
        assert torch.allclose(hidden[: len(expected)].float(), expected.float(), atol=tolerance)
    if freeze_layers == "all":
        assert batch["inputs_embeds"].shape == (3, 1, 16)
        assert "attention_mask" not in batch
    else:
        assert batch["attention_mask"].sum(-1).tolist() == rows.lengths[[7, 3, 40]].tolist()


def test_features_are_found_the_next_time_and_are_the_same(rows, model, cache):
    first, _ = cache_features(FrozenEncoder(model, 1, torch.bfloat16), rows, "train", cache)
    rows.labels = 1 - rows.labels  # labels do not matter
    again, report = cache_features(FrozenEncoder(model, 1, torch.bfloat16), rows, "train", cache)
    assert report["train_hit"] == 1
    one, two = (features.__getitems__(range(50)) for features in (first, again))
    assert torch.equal(one["inputs_embeds"], two["inputs_embeds"])
    assert torch.equal(one["labels"], 1 - two["labels"])
    _, report = cache_features(FrozenEncoder(model, 2, torch.bfloat16), rows, "train", cache)
    assert report["train_hit"] == 0


def test_shards_are_safetensors(rows, model, cache):
    frozen = FrozenEncoder(model, 1, torch.bfloat16)
    cache_features(frozen, rows, "train", cache)
    ((_, _, folder),) = cache.list_entries()
    shards = [load_file(path)["hidden"] for path in sorted(folder.glob("*.safetensors"))]
    assert len(shards) == (1 if feature_cache.SHARD_BYTES == 2**30 else 6)
    assert torch.cat(shards).shape == (rows.lengths.sum(), 16)


@pytest.mark.parametrize("where", ["device", "pinned"])
def test_features_in_memory_are_those_on_disk(rows, model, cache, where):
    features, _ = cache_features(FrozenEncoder(model, 1, torch.float32), rows, "train", cache)
    ((_, _, folder),) = cache.list_entries()
    expected = features.__getitems__([7, 3, 40])
    memory = torch.cat([load_file(path)["hidden"] for path in sorted(folder.glob("*.safetensors"))])
    rows_and_width = np.array([7, 3, 40]), expected["inputs_embeds"].shape[1]
    if where == "device":
        hidden = features.gather_from_gpu(memory, *rows_and_width)
    else:
        features.piece = 11  # positions, so that rows continue in the next piece
        hidden = features.copy_from_pinned(list(memory.split(11)), *rows_and_width)
    mask = expected["attention_mask"].bool()
    assert torch.equal(hidden[mask], expected["inputs_embeds"][mask])
    assert hidden.isfinite().all()
