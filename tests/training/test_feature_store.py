import os
import resource
import shutil

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_models import tiny_config
from transformers import AutoModelForSequenceClassification

from stages.core.cache import FolderCache
from stages.model.partition import FrozenEncoder
from stages.text.batches import TokenRows
from stages.training import feature_cache, feature_store
from stages.training.feature_cache import cache_features
from stages.training.feature_store import hash_rows

IDS = [[number, *range(5, 5 + number % 9)] for number in range(100, 130)]


def make_rows(**columns):
    return TokenRows(Dataset.from_dict(columns | {"labels": [0] * len(columns["input_ids"])}), 0, 128)


@pytest.fixture(scope="module")
def frozen():
    torch.manual_seed(0)
    return FrozenEncoder(AutoModelForSequenceClassification.from_config(tiny_config("bert")), 1, torch.bfloat16)


@pytest.fixture
def cache(tmp_path):
    return FolderCache(tmp_path, 10**9)


def fill(frozen, cache, ids=IDS):
    """How many rows were computed, and the features of all."""
    features, report = cache_features(frozen, {"train": make_rows(input_ids=ids)}, cache)
    return report["train_rows_computed"], features["train"].__getitems__(range(len(ids)))["inputs_embeds"]


def change_byte(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


BREAK = {
    "a changed byte": lambda path: change_byte(path, path.stat().st_size // 2),
    "a changed header": lambda path: change_byte(path, 0),
    "a truncated file": lambda path: os.truncate(path, 1000),
    "an empty file": lambda path: os.truncate(path, 0),
    "a missing file": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", BREAK)
def test_rows_of_a_broken_shard_are_computed_again(name, frozen, cache, capsys):
    _, expected = fill(frozen, cache)
    fill(frozen, cache, [[7, 7]])
    shard, other = sorted(cache.find(""), key=lambda path: -(path / "features.safetensors").stat().st_size)
    BREAK[name](shard / "features.safetensors")
    capsys.readouterr()
    computed, features = fill(frozen, cache, [*IDS, [7, 7]])
    (warning,) = (line for line in capsys.readouterr().out.splitlines() if " are broken (" in line)
    assert warning.startswith(f"cached features in {shard} are broken (")
    assert warning.endswith("); their rows are computed again")
    assert computed == len(IDS)
    assert torch.equal(features[: len(IDS)], expected)
    assert fill(frozen, cache)[0] == 0
    assert other.exists()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whichever_byte_of_a_shard_changes_the_features_are_right(tmp_path_factory, frozen, data):
    cache = FolderCache(tmp_path_factory.mktemp("cache"), 10**9)
    _, expected = fill(frozen, cache, IDS[:5])
    (shard,) = cache.find("")
    size = (shard / "features.safetensors").stat().st_size
    change_byte(shard / "features.safetensors", data.draw(st.integers(0, size - 1)))
    computed, features = fill(frozen, cache, IDS[:5])
    assert torch.equal(features, expected)
    assert computed in (0, 1, 5)  # 0: a byte that does not matter, 1: the key of a row


def test_a_broken_shard_that_cannot_be_deleted_is_reported_once(frozen, cache, monkeypatch, capsys):
    _, expected = fill(frozen, cache)
    (shard,) = cache.find("")
    change_byte(shard / "features.safetensors", 5000)
    monkeypatch.setattr(cache, "remove", lambda folder: None)
    assert torch.equal(fill(frozen, cache, [*IDS, [7]])[1][:-1], expected)
    assert capsys.readouterr().out.count("are broken") == 1


def test_rows_that_are_not_read_are_not_checked(frozen, cache):
    fill(frozen, cache)
    (shard,) = cache.find("")
    change_byte(shard / "features.safetensors", 1000)  # of the longest row, which is the first
    assert fill(frozen, cache, [IDS[1]])[0] == 0


def test_after_a_kill_the_shards_that_were_complete_are_found(frozen, cache, monkeypatch):
    _, expected = fill(frozen, FolderCache(cache.folder / "other", 10**9))
    monkeypatch.setattr(feature_cache, "SHARD_BYTES", 2000)

    def make_checksum(key, values):
        if key[0] == hash_rows(make_rows(input_ids=[IDS[0]]))[0]:  # the shortest row, in the last shard
            raise KeyboardInterrupt
        return 0 if broken else real(key, values)

    real, broken = feature_store.make_checksum, False
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(feature_store, "make_checksum", make_checksum)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # the process has no time to clean up
        fill(frozen, cache)
    assert len(list(cache.folder.glob(".*.part"))) == 1
    computed, features = fill(frozen, cache)
    assert 0 < computed < 10
    assert torch.equal(features, expected)
    assert not list(cache.folder.glob(".*.part"))


def test_shards_that_are_deleted_while_they_are_in_use_can_still_be_read(frozen, cache):
    features, _ = cache_features(frozen, {"train": make_rows(input_ids=IDS)}, cache)
    expected = features["train"].__getitems__(range(len(IDS)))
    for folder in cache.find(""):
        cache.remove(folder)
    assert torch.equal(features["train"].__getitems__(range(len(IDS)))["inputs_embeds"], expected["inputs_embeds"])


def test_the_files_of_shards_are_closed_with_the_features(frozen, cache):
    fill(frozen, cache)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    features, _ = cache_features(frozen, {"train": make_rows(input_ids=IDS)}, cache)
    assert len(os.listdir("/proc/self/fd")) == before + 1  # noqa: PTH208
    del features
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_more_shards_can_be_used_than_a_process_may_open_files_by_default(frozen, cache, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD_BYTES", 1)  # a shard a row
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 15, limits[1]))
    try:
        assert fill(frozen, cache)[0] == len(IDS)
        assert len(cache.find("")) == len(IDS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_entries_of_an_earlier_layout_do_not_matter(frozen, cache):
    old = cache.folder / ("a" * 32)
    old.mkdir()
    (old / "hidden-00000.safetensors").write_bytes(b"x")
    (old / "manifest.json").write_text("{}")
    assert fill(frozen, cache)[0] == len(IDS)
    assert fill(frozen, cache)[0] == 0


TOKENS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 1)), min_size=1, max_size=4)


@given(st.lists(TOKENS, min_size=2, max_size=2), st.booleans())
def test_keys_of_rows_are_equal_when_all_tokens_are(rows, pairs):
    columns = {"input_ids": [[token for token, _ in row] for row in rows]}
    if pairs:
        columns["token_type_ids"] = [[kind for _, kind in row] for row in rows]
    keys = hash_rows(make_rows(**columns))
    assert (keys[0] == keys[1]) == all(column[0] == column[1] for column in columns.values())
    assert hash_rows(make_rows(input_ids=columns["input_ids"] + [[9]]))[0] != keys[0] or not pairs


def test_keys_do_not_depend_on_the_type_of_the_columns():
    rows = make_rows(input_ids=IDS)
    expected = hash_rows(rows)
    rows.tokens = {name: values.astype(np.int16) for name, values in rows.tokens.items()}
    assert (hash_rows(rows) == expected).all()
