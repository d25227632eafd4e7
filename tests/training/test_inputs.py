from types import SimpleNamespace

import pytest
from datasets import Dataset, DatasetDict

from stages.core.param_sections import Cache
from stages.model.classifier import build_classifier
from stages.model.freezing import freeze
from stages.text.batches import TokenRows
from stages.training.cached_features import CachedFeatures
from stages.training.inputs import prepare_inputs

SPLITS = ("train", "validation")


@pytest.fixture
def prepare(tiny_model, workspace, monkeypatch):
    monkeypatch.delenv("PIPELINE_CACHE", raising=False)
    data = DatasetDict()
    for start, split in zip(
        (100, 200, 300), (*SPLITS, "test"), strict=True
    ):  # 50 tokens a split, and no two rows equal
        ids = [row for number in range(start, start + 10) for row in ([2, number, 3], [2, number])]
        data[split] = Dataset.from_dict({"input_ids": ids, "labels": [0, 1] * 10})

    def run(freeze_layers, max_size_gb=1.0, splits=SPLITS):
        model = build_classifier(tiny_model, ["no", "yes"], None)
        freeze(model, freeze_layers)
        tokenizer = SimpleNamespace(pad_token_id=0, model_max_length=128)
        return prepare_inputs(model, data, splits, tokenizer, "fp32", Cache(max_size_gb=max_size_gb))

    return run


def test_features_are_stored_in_the_cache_of_the_checkout(prepare, workspace, capsys):
    inputs = prepare(1)
    assert inputs.frozen is None
    assert all(isinstance(rows, CachedFeatures) for rows in inputs.rows.values())
    assert inputs.report["train_rows_computed"] == inputs.report["validation_rows_computed"] == 20
    assert inputs.report["train_rows_found"] == inputs.report["validation_rows_found"] == 0
    assert inputs.report["train_bytes"] == 50 * 32 * 4
    printed = capsys.readouterr().out
    assert f"layers for train: 0 rows found and 20 computed, in {workspace}/.cache/frozen (0.0 MiB, " in printed


def test_the_next_stage_finds_the_features(prepare):
    prepare(1, splits=("test",))
    report = prepare(1, splits=("test",)).report
    assert (report["test_rows_found"], report["test_rows_computed"]) == (20, 0)


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

    monkeypatch.setattr("stages.training.feature_store.make_header", fill)
    inputs = prepare(1)
    assert inputs.frozen is not None
    assert "the frozen layers run in every step: " in (printed := capsys.readouterr().out)
    assert "No space left on device" in printed


def test_a_folder_that_cannot_be_written_does_not_stop_the_run(prepare, workspace, capsys):
    (workspace / ".cache").write_text("a file")  # like a read-only folder, also for root
    assert prepare(1).frozen is not None
    (printed,) = (line for line in capsys.readouterr().out.splitlines() if "frozen layers" in line)
    assert printed.startswith("the frozen layers run in every step: their outputs cannot be stored in ")
