import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.metrics import log_loss
from support import easy_task
from support.easy_task import predict_logits
from transformers import TrainingArguments

from stages.core.errors import UserError
from stages.core.hardware import resolve_precision
from stages.text.labels import read_labels
from stages.text.padding import plan_batches
from stages.training import inputs, prediction
from stages.training.trainer import find_best_validation, measure_speed


@pytest.fixture
def fit(tiny_model, params, tmp_path, monkeypatch):
    """Train from the beginning; return the Trainer and its data."""
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))

    def fit(changes=None, **options):
        return easy_task.train(tiny_model, params, Path(tempfile.mkdtemp(dir=tmp_path)), changes, **options)

    return fit


def get_validations(trainer):
    return [row for row in trainer.state.log_history if "eval_loss" in row]


def predict_one_by_one(model, split):
    """Logits of the complete model, row by row."""
    model.eval()
    with torch.inference_mode():
        return np.concatenate([model(torch.tensor([ids])).logits.numpy() for ids in split["input_ids"]])


def test_the_best_checkpoint_is_chosen_on_validation(fit):
    trainer, _ = fit({"train.eval_steps": 5, "train.metric_for_best_model": "loss", "train.learning_rate": 2e-2})
    losses = [row["eval_loss"] for row in get_validations(trainer)]
    assert len(losses) == 4
    assert find_best_validation(trainer)["loss"] == min(losses)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), abs=1e-5)


def test_a_second_visible_gpu_changes_no_batch(fit, monkeypatch):
    monkeypatch.setattr(TrainingArguments, "n_gpu", 2)
    trainer, _ = fit({"train.eval_steps": 8})
    assert trainer.state.max_steps == 16
    assert not isinstance(trainer.model_wrapped, torch.nn.DataParallel)


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_a_loss_that_is_not_a_number_is_an_error_each_time(tiny_model, params, tmp_path, metric):
    changes = {"train.learning_rate": 1e9, "train.metric_for_best_model": metric, "train.eval_steps": 8}
    for _ in range(2):  # the second time from the last checkpoint
        trainer, _ = easy_task.train(tiny_model, params, tmp_path, changes)
        message = r"train.learning_rate: found 1e\+09; .* is not a number \(nan\). Use a smaller one"
        with pytest.raises(UserError, match=message):
            find_best_validation(trainer)


def test_the_last_step_is_validated_too(fit):
    trainer, _ = fit({"train.eval_steps": 7})
    assert [row["step"] for row in get_validations(trainer)] == [7, 14, 16]


def test_training_stops_early_without_a_better_validation(fit):
    changes = {"train.num_train_epochs": 20, "train.eval_steps": 4, "train.early_stopping_patience": 2}
    trainer, _ = fit(changes)
    assert trainer.state.global_step < trainer.state.max_steps


def test_two_runs_with_one_seed_are_equal(fit):
    one, two = (fit()[0].model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_batches_hold_rows_of_similar_length(fit):
    trainer, _ = fit()
    spreads = [
        int(lengths.max() - lengths.min())
        for batch in trainer.get_train_dataloader()
        if len(lengths := (batch["input_ids"] > 0).sum(-1)) == 16
    ]
    assert len(spreads) == 16
    assert np.mean(spreads) < 10


def test_predictions_have_the_order_of_the_rows(fit, params):
    trainer, data = fit()
    logits = predict_logits(trainer.inputs, "test", params({"evaluate.precision": "fp32"}).evaluate)
    assert logits == pytest.approx(predict_one_by_one(trainer.complete_model, data["test"]), abs=1e-5)


@pytest.mark.parametrize("freeze_layers", [0, 1, "all"])
def test_batches_with_a_fixed_number_of_rows_as_on_a_gpu_have_the_same_predictions(
    fit, params, monkeypatch, freeze_layers
):
    trainer, _ = fit({"train.freeze_layers": freeze_layers})
    evaluate = params({"evaluate.precision": "fp32"}).evaluate
    expected = predict_logits(trainer.inputs, "test", evaluate)
    monkeypatch.setattr(prediction, "plan_batches", lambda *values: plan_batches(*values[:3], fixed_rows=True))
    batches = prediction.make_eval_batches(trainer.inputs.rows["test"], 8)
    assert sum(map(len, batches)) > 64
    assert np.array_equal(predict_logits(trainer.inputs, "test", evaluate), expected)


@pytest.mark.parametrize("freeze_layers", [1, 2, "all"])
def test_the_complete_model_has_what_its_trainable_part_learned(fit, params, freeze_layers):
    trainer, data = fit({"train.freeze_layers": freeze_layers})
    logits = predict_logits(trainer.inputs, "test", params({"evaluate.precision": "fp32"}).evaluate)
    assert logits == pytest.approx(predict_one_by_one(trainer.complete_model, data["test"]), abs=1e-5)


@pytest.mark.parametrize("freeze_layers", [1, "all"])
def test_training_on_cached_features_equals_computing_them_in_every_step(fit, monkeypatch, freeze_layers):
    cached, _ = fit({"train.freeze_layers": freeze_layers})
    monkeypatch.setattr(inputs, "count_feature_bytes", lambda *_: 10**12)
    computed, _ = fit({"train.freeze_layers": freeze_layers})
    assert cached.frozen is None
    assert computed.frozen is not None
    losses = [[row["loss"] for row in trainer.state.log_history if "loss" in row] for trainer in (cached, computed)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert computed.evaluate()["eval_loss"] == pytest.approx(cached.evaluate()["eval_loss"], abs=1e-4)


@pytest.mark.parametrize("changes", [{}, {"train.label_smoothing_factor": 0.3, "train.class_weights": "balanced"}])
def test_the_loss_of_a_validation_is_plain_cross_entropy_over_all_rows(fit, changes):
    trainer, data = fit(changes)
    labels = torch.tensor(data["validation"]["labels"])
    logits = torch.from_numpy(predict_one_by_one(trainer.complete_model, data["validation"]))
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("freeze_layers", [0, 1])
def test_the_prediction_for_a_document_is_the_mean_over_its_windows(fit, params, freeze_layers):
    changes = {"train.freeze_layers": freeze_layers, "train.learning_rate": 1e-2, "train.num_train_epochs": 4}
    trainer, data = fit(changes, windows=True)
    for split in ("validation", "test"):
        windows = pd.DataFrame(softmax(predict_one_by_one(trainer.complete_model, data[split]).astype(float), -1))
        documents = windows.groupby(data[split]["document"][:])
        labels = pd.Series(data[split]["labels"][:]).groupby(data[split]["document"][:]).first()
        expected = documents.mean()
        assert len(labels) < len(data[split]) == 64
        assert (documents.max() - documents.min()).max().max() > 0.05  # windows of one document differ
        if split == "test":
            evaluate = params({"evaluate.precision": "fp32"}).evaluate
            scores = predict_logits(trainer.inputs, split, evaluate)
            assert softmax(scores, -1) == pytest.approx(expected, abs=1e-5)
        else:
            last = trainer.evaluate()
            assert last["eval_accuracy"] == (expected.to_numpy().argmax(-1) == labels).mean()
            assert last["eval_loss"] == pytest.approx(log_loss(labels, expected), abs=1e-5)


@pytest.mark.parametrize("freeze_layers", [0, 1])
def test_several_labels_of_a_row_are_learned_each_by_itself(fit, freeze_layers):
    changes = {"train.freeze_layers": freeze_layers, "train.num_train_epochs": 12}
    trainer, data = fit(changes, make_rows=easy_task.make_multi_label_rows)
    labels = read_labels(data["validation"])
    probabilities = expit(predict_one_by_one(trainer.complete_model, data["validation"]).astype(float))
    last = trainer.evaluate()
    hits = (probabilities > 0.5) == labels
    assert last["eval_accuracy"] == hits.all(axis=1).mean()
    assert hits.mean(axis=0).max() > 0.95
    assert hits.mean() > 0.7
    expected = np.mean([log_loss(labels[:, label], probabilities[:, label]) for label in (0, 1)])
    assert last["eval_loss"] == pytest.approx(expected, abs=1e-5)


def test_several_labels_of_a_document_are_those_of_the_mean_over_its_windows(fit, params):
    trainer, data = fit({"train.num_train_epochs": 2}, windows=True, make_rows=easy_task.make_multi_label_rows)
    windows = pd.DataFrame(expit(predict_one_by_one(trainer.complete_model, data["test"]).astype(float)))
    expected = windows.groupby(data["test"]["document"][:]).mean()
    scores = predict_logits(trainer.inputs, "test", params({"evaluate.precision": "fp32"}).evaluate)
    assert expit(scores) == pytest.approx(expected.to_numpy(), abs=1e-5)


def test_two_multi_label_runs_are_equal_on_cached_features_and_without_them(fit, monkeypatch):
    changes = {"train.freeze_layers": 1, "train.class_weights": "balanced", "train.label_smoothing_factor": 0.1}
    runs = [fit(changes, make_rows=easy_task.make_multi_label_rows)[0] for _ in range(2)]
    monkeypatch.setattr(inputs, "cache_splits", lambda *arguments: (None, {}))
    runs.append(fit(changes, make_rows=easy_task.make_multi_label_rows)[0])
    losses = [[row["loss"] for row in trainer.state.log_history if "loss" in row] for trainer in runs]
    assert losses[0] == losses[1] == pytest.approx(losses[2], abs=1e-4)


def test_speed_counts_the_rows_that_were_trained(fit):
    trainer, _ = fit()
    values = measure_speed(trainer, tokens=4096)
    assert values["train_samples_per_second"] * values["train_loop_seconds"] == pytest.approx(256, rel=0.05)
    assert values["train_tokens_per_second"] == pytest.approx(16 * values["train_samples_per_second"], rel=0.01)


@pytest.mark.parametrize(
    ("gpu", "bf16", "wanted", "expected"),
    [
        (True, True, "auto", "bf16"),
        (True, False, "auto", "fp16"),
        (False, True, "auto", "bf16"),
        (False, False, "auto", "fp32"),
        (False, True, "fp32", "fp32"),
        (True, True, "fp16", "fp16"),
    ],
)
def test_auto_precision_is_the_best_that_the_hardware_supports(monkeypatch, gpu, bf16, wanted, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert resolve_precision("train.precision", wanted) == expected


def test_fp16_without_a_gpu_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"train.precision: found fp16; it needs a GPU"):
        resolve_precision("train.precision", "fp16")
