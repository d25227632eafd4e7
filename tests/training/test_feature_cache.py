import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from support.tiny_models import FAMILIES, tiny_config
from transformers import AutoModelForSequenceClassification

from stages.core.cache import FolderCache
from stages.model.families import find_family
from stages.model.partition import FrozenEncoder
from stages.text.batches import TokenRows
from stages.training import cached_features, feature_cache
from stages.training.feature_cache import cache_features, count_feature_bytes

RANDOM = np.random.default_rng(0)
IDS = [RANDOM.integers(5, 600, length).tolist() for length in RANDOM.integers(1, 40, 50)]


def make_rows(ids, max_length=128):
    labels = [number % 2 for number in range(len(ids))]
    return TokenRows(Dataset.from_dict({"input_ids": ids, "labels": labels}), 0, max_length)


def make_model(family="bert"):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(tiny_config(family)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def rows():
    return make_rows(IDS)


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def cache(tmp_path):
    return FolderCache(tmp_path, 10**9)


@pytest.fixture(params=["one shard", "many shards"])
def shard_bytes(request, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD_BYTES", 2**30 if request.param == "one shard" else 5000)


def cache_split(frozen, rows, cache):
    """The features of one split, and how many rows were computed and found."""
    features, report = cache_features(frozen, {"train": rows}, cache)
    return features["train"], int(report["train_rows_computed"]), int(report["train_rows_found"])


def read_all(features):
    """The bytes of each row's features."""
    batch = features.__getitems__(range(len(features)))["inputs_embeds"].view(torch.uint8).numpy()
    size = features.stored.position_bytes
    return [row.ravel()[: count * size].tobytes() for row, count in zip(batch, features.positions, strict=True)]


def compute_alone(frozen, rows, index):
    """Features of one row, computed alone."""
    return frozen(rows.__getitems__([index]))["inputs_embeds"][0, : rows.lengths[index]]


@pytest.mark.usefixtures("shard_bytes")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("freeze_layers", [1, "all"])
def test_cached_features_are_those_of_each_row(rows, model, cache, freeze_layers, dtype):
    frozen = FrozenEncoder(model, freeze_layers, dtype)
    features, report = cache_features(frozen, {"train": rows}, cache)
    assert report["train_bytes"] == count_feature_bytes(frozen, rows)
    batch = features["train"].__getitems__([7, 3, 40])
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


@pytest.mark.usefixtures("shard_bytes")
def test_features_are_found_the_next_time_and_are_the_same(rows, model, cache):
    first, *counts = cache_split(FrozenEncoder(model, 1, torch.bfloat16), rows, cache)
    assert counts == [50, 0]
    rows.labels = 1 - rows.labels  # labels do not matter
    again, *counts = cache_split(FrozenEncoder(model, 1, torch.bfloat16), rows, cache)
    assert counts == [0, 50]
    one, two = (features.__getitems__(range(50)) for features in (first, again))
    assert torch.equal(one["inputs_embeds"], two["inputs_embeds"])
    assert torch.equal(one["labels"], 1 - two["labels"])
    assert cache_split(FrozenEncoder(model, 1, torch.float32), rows, cache)[1] == 50


@pytest.mark.usefixtures("shard_bytes")
def test_only_the_rows_that_are_new_are_computed(model, cache, capsys):
    frozen = FrozenEncoder(model, 1, torch.bfloat16)
    assert cache_split(frozen, make_rows(IDS[:40]), cache)[1:] == (40, 0)
    assert cache_split(frozen, make_rows(IDS), cache)[1:] == (10, 40)
    printed = capsys.readouterr().out.splitlines()[-1]
    assert f"features of the frozen layers for train: 40 rows found and 10 computed, in {cache.folder} (" in printed
    for other in (IDS[::-1], IDS[5:20], IDS[1::3], [IDS[3]]):  # another order, a part, a fold, a row
        assert cache_split(frozen, make_rows(other), cache)[1:] == (0, len(other))


def test_a_row_that_was_padded_to_another_width_is_not_found(model, cache):
    """Its features may have other last bits: which it has must not depend on what was computed before."""
    frozen = FrozenEncoder(model, 1, torch.float32)
    ids = [[*range(10, 10 + length)] for length in (8, 9, 12)]
    assert cache_split(frozen, make_rows(ids, max_length=16), cache)[1:] == (3, 0)
    assert cache_split(frozen, make_rows(ids, max_length=12), cache)[1:] == (2, 1)
    assert cache_split(frozen, make_rows(ids, max_length=24), cache)[1:] == (0, 3)


def test_rows_with_equal_tokens_are_computed_once(model, cache):
    frozen = FrozenEncoder(model, 1, torch.bfloat16)
    splits = {"train": make_rows([IDS[0], IDS[1], IDS[0]]), "test": make_rows([IDS[1], IDS[2], IDS[2]])}
    features, report = cache_features(frozen, splits, cache)
    assert [report[f"{split}_rows_computed"] for split in splits] == [2, 1]
    assert [report[f"{split}_rows_found"] for split in splits] == [1, 2]
    train, test = (read_all(features[split]) for split in splits)
    assert train[0] == train[2] != train[1] == test[0] != test[1] == test[2]


@pytest.mark.usefixtures("shard_bytes")
@given(st.lists(st.lists(st.integers(0, 49), min_size=1, max_size=20), max_size=4))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_in_which_the_cache_was_filled_does_not_matter(tmp_path_factory, model, orders):
    frozen = FrozenEncoder(model, 1, torch.bfloat16)
    cold, filled = (FolderCache(tmp_path_factory.mktemp("cache"), 10**9) for _ in range(2))
    expected = read_all(cache_split(frozen, make_rows(IDS), cold)[0])
    known = set()
    for order in orders:
        features, computed, found = cache_split(frozen, make_rows([IDS[number] for number in order]), filled)
        assert computed == len(set(order) - known)
        assert computed + found == len(order)
        known |= set(order)
        assert read_all(features) == [expected[number] for number in order]
    assert read_all(cache_split(frozen, make_rows(IDS), filled)[0]) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_deeper_features_are_computed_from_shallower_ones_and_have_the_same_bits(family, dtype, tmp_path, capsys):
    model = make_model(family)
    if find_family(family).layers is None:
        pytest.skip("all layers of this family are frozen together")
    cold, filled = FolderCache(tmp_path / "cold", 10**9), FolderCache(tmp_path / "filled", 10**9)
    cache_split(FrozenEncoder(model, 1, dtype), make_rows(IDS[:30]), filled)
    cache_split(FrozenEncoder(model, 2, dtype), make_rows(IDS[:20]), filled)
    for freeze_layers in (2, "all"):
        expected = read_all(cache_split(FrozenEncoder(model, freeze_layers, dtype), make_rows(IDS), cold)[0])
        features, computed, _ = cache_split(FrozenEncoder(model, freeze_layers, dtype), make_rows(IDS), filled)
        assert read_all(features) == expected
        assert computed == (30 if freeze_layers == 2 else 50)
    printed = re.findall(r"(\d+) computed, (\d+) of them from the outputs of fewer layers", capsys.readouterr().out)
    assert printed[-2:] == [("50", "50"), ("50", "50")]  # of the cold cache and of the filled one


def test_a_search_over_depths_computes_each_layer_once(rows, model, cache, monkeypatch):
    run = []
    call = FrozenEncoder.__call__

    def count(self, batch, start=0):
        run.append((start, self.depth))
        return call(self, batch, start)

    monkeypatch.setattr(FrozenEncoder, "__call__", count)
    for freeze_layers in (1, 3, 2, "all"):
        cache_split(FrozenEncoder(model, freeze_layers, torch.float32), rows, cache)
    assert set(run) == {(0, 1), (1, 3), (1, 2)}


def test_experiments_at_once_compute_each_row_once(rows, model, tmp_path):
    def run(freeze_layers):
        cache = FolderCache(tmp_path, 10**9)
        return cache_split(FrozenEncoder(model, freeze_layers, torch.float32), rows, cache)[1]

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(run, [1, 1, 2, 2])) == [0, 0, 50, 50]


@pytest.mark.usefixtures("shard_bytes")
def test_the_least_recently_used_shards_are_deleted_but_none_that_the_run_needs(rows, model, tmp_path):
    frozen = FrozenEncoder(model, 1, torch.float32)
    size = count_feature_bytes(frozen, rows)
    cache_split(frozen, rows, FolderCache(tmp_path, 10**9))
    shards = FolderCache(tmp_path, 10**9).list_entries()
    limit = sum(shard.size for shard in shards) + size // 2
    assert cache_split(FrozenEncoder(model, 2, torch.float32), rows, FolderCache(tmp_path, limit))[1] == 50
    left = FolderCache(tmp_path, limit).list_entries()
    assert sum(shard.size for shard in left) <= limit
    assert len(set(shards) & set(left)) < len(shards)
    more = {"train": rows, "test": make_rows([[number] * 9 for number in range(10)])}
    _, report = cache_features(FrozenEncoder(model, 2, torch.float32), more, FolderCache(tmp_path, limit))
    assert (report["train_rows_found"], report["test_rows_computed"]) == (50, 10)
    assert cache_split(FrozenEncoder(model, 2, torch.float32), rows, FolderCache(tmp_path, limit))[1] == 0


@pytest.mark.usefixtures("shard_bytes")
def test_shards_are_safetensors(rows, model, cache):
    cache_split(FrozenEncoder(model, 1, torch.bfloat16), rows, cache)
    shards = [load_file(path / "features.safetensors") for path in cache.find("")]
    assert len(shards) == (1 if feature_cache.SHARD_BYTES == 2**30 else 6)
    assert torch.cat([shard["hidden"] for shard in shards]).shape == (rows.lengths.sum(), 16)
    for shard in shards:
        assert shard["positions"].tolist() == sorted(shard["positions"].tolist(), reverse=True)
        assert len(shard["rows"]) == len(shard["positions"]) == len(shard["checksums"])


@pytest.mark.usefixtures("shard_bytes")
@pytest.mark.parametrize("where", ["device", "pinned"])
def test_features_in_memory_are_those_on_disk(rows, model, cache, where, monkeypatch):
    frozen = FrozenEncoder(model, 1, torch.float32)
    cache_split(frozen, make_rows(IDS[5:30:2]), cache)  # so that the rows are in several shards
    cache_split(frozen, rows, cache)
    features, *_ = cache_split(frozen, make_rows([*IDS[:20], IDS[7], IDS[40]]), cache)  # with other rows between them
    numbers = np.array([7, 3, 21, 20])
    expected = features.__getitems__(numbers)
    positions = sum(map(len, [*IDS[:20], IDS[40]]))
    monkeypatch.setattr(cached_features, "READ_BYTES", 1000)
    features.piece = positions if where == "device" else 11  # so that rows continue in the next piece
    memory = [part.contiguous() for part in torch.full((positions, 16), torch.nan).split(features.piece)]
    features.fill(memory)
    width = expected["inputs_embeds"].shape[1]
    if where == "device":
        hidden = features.gather_from_gpu(memory[0], numbers, width)
    else:
        hidden = features.copy_from_pinned(memory, numbers, width)
    mask = expected["attention_mask"].bool()
    assert torch.equal(hidden[mask], expected["inputs_embeds"][mask])
    assert hidden.isfinite().all()
