import pytest
from datasets import Dataset, DatasetDict

from stages.core.param_sections import Cache
from stages.model.classifier import build_classifier
from stages.model.freezing import freeze
from stages.text.batches import TokenRows
from stages.training.feature_cache import CachedFeatures
from stages.training.inputs import prepare_inputs

SPLITS = ("train", "validation")


@pytest.fixture
def prepare(tiny_model, workspace, monkeypatch):
    monkeypatch.delenv("PIPELINE_CACHE", raising=False)
    split = Dataset.from_dict({"input_ids": [[2, 7, 3], [2, 3]] * 10, "labels": [0, 1] * 10})
    data = DatasetDict(dict.fromkeys((*SPLITS, "test"), split))

    def run(freeze_layers, max_size_gb=1.0, splits=SPLITS):
        model = build_classifier(tiny_model, ["no", "yes"], None)
        freeze(model, freeze_layers)
        return prepare_inputs(model, data, splits, 0, "fp32", Cache(max_size_gb=max_size_gb))

    return run


def test_features_are_stored_in_the_cache_of_the_checkout(prepare, workspace, capsys):
    inputs = prepare(1)
    assert inputs.frozen is None
    assert all(isinstance(rows, CachedFeatures) for rows in inputs.rows.values())
    assert inputs.report["train_hit"] == 0
    assert inputs.report["validation_hit"] == 1  # its tokens are the same here
    assert inputs.report["train_bytes"] == 50 * 32 * 4
    assert f"computed and stored in {workspace}/.cache/frozen/" in capsys.readouterr().out


def test_the_next_stage_finds_the_features(prepare):
    prepare(1)
    assert prepare(1, splits=("test",)).report["test_hit"] == 1


def test_without_room_the_frozen_encoder_runs_in_every_step(prepare, capsys):
    inputs = prepare(1, 0.000015)
    assert inputs.frozen is not None
    assert all(isinstance(rows, TokenRows) for rows in inputs.rows.values())
    expected = "their outputs would take 1.92e-05 GB, and there is room for 1.5e-05 (cache.max_size_gb: 1.5e-05)"
    assert expected in capsys.readouterr().out


def test_with_all_layers_frozen_only_the_first_token_is_stored(prepare):
    assert prepare("all").report["train_bytes"] == 20 * 32 * 4


def test_nothing_is_cached_when_nothing_is_frozen(prepare):
    inputs = prepare(0)
    assert (inputs.frozen, inputs.report) == (None, {})
    assert isinstance(inputs.rows["train"], TokenRows)


def test_a_failing_disk_does_not_stop_the_run(prepare, monkeypatch, capsys):
    def fill(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stages.training.feature_cache.write_features", fill)
    inputs = prepare(1)
    assert inputs.frozen is not None
    assert "the frozen layers run in every step: " in (printed := capsys.readouterr().out)
    assert "No space left on device" in printed
