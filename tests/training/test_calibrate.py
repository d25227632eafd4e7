import shutil

import numpy as np
import pytest
import torch
from support import easy_task

from stages import train
from stages.core.errors import UserError
from stages.core.files import read_json
from stages.core.paths import TRAIN_METRICS
from stages.core.problem_type import MULTI_LABEL
from stages.training.calibrate import Calibration, calibrate
from stages.training.prediction import predict_rows
from stages.training.trainer import ClassifierTrainer


@pytest.fixture
def fit(tiny_model, params, tmp_path, monkeypatch):
    """Train on the easy task, and return the inputs with the best model, and a function that calibrates it."""
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))

    def fit(changes=None, windows=False):
        changes = {"train.learning_rate": 1e-3, "train.num_train_epochs": 3} | (changes or {})
        trainer, _ = easy_task.train(tiny_model, params, tmp_path / "trained", changes, windows=windows)

        def fitted(**keys):
            values = changes | {f"train.{key}": value for key, value in keys.items()}
            return calibrate(trainer.inputs, params(easy_task.DEFAULTS | values).train, "fp32")

        return trainer.inputs, fitted

    return fit


def predict(inputs, split="validation"):
    return predict_rows(inputs, split, "fp32", 8).predict()


def make_unsure(inputs):
    """Multiply the logits by 4, so that the model is too sure of itself, also where it is wrong."""
    with torch.no_grad():
        inputs.model.classifier.weight *= 4
        inputs.model.classifier.bias.copy_(inputs.model.classifier.bias * 4 + torch.tensor([0.5, -0.5]))


@pytest.mark.parametrize("freeze_layers", [0, 1, "all"])
@pytest.mark.parametrize("windows", [False, True])
def test_the_head_is_divided_by_the_temperature_and_no_label_of_a_row_changes(fit, capsys, freeze_layers, windows):
    inputs, fitted = fit({"train.freeze_layers": freeze_layers, "train.num_train_epochs": 0.5}, windows)
    make_unsure(inputs)
    before = predict_rows(inputs, "validation", "fp32", 8)
    found = fitted(calibration="temperature")
    after = predict_rows(inputs, "validation", "fp32", 8)
    assert found.describe() == {"temperature": inputs.model.config.calibration_temperature}
    assert found.temperature != 1
    assert np.allclose(after.logits, before.logits / found.temperature, rtol=1e-5, atol=1e-6)
    assert np.array_equal(after.logits.argmax(-1), before.logits.argmax(-1))
    assert after.predict().losses.mean() < before.predict().losses.mean()
    assert f"temperature {found.temperature:g}: it takes the loss on validation from" in capsys.readouterr().out


def test_without_both_params_nothing_is_predicted_and_no_bit_changes(fit, monkeypatch):
    inputs, fitted = fit()
    monkeypatch.setattr("stages.training.calibrate.predict_rows", None)
    before = {name: value.clone() for name, value in inputs.model.state_dict().items()}
    config = inputs.model.config.to_dict()
    assert fitted() == Calibration()
    assert Calibration().describe() == {}
    assert inputs.model.config.to_dict() == config
    assert all(torch.equal(value, before[name]) for name, value in inputs.model.state_dict().items())


def test_a_threshold_is_fitted_to_calibrated_probabilities(fit, capsys):
    inputs, fitted = fit({"train.num_train_epochs": 0.5})
    make_unsure(inputs)
    found = fitted(calibration="temperature", threshold="precision >= 0.6")
    after = predict(inputs)
    assert after.thresholds.tolist() == [found.threshold] == inputs.model.config.thresholds
    assert after.correct[after.answered].mean() >= 0.6
    shown = f"{after.answered.mean():.1%} of validation is answered, {after.correct[after.answered].mean():.1%} of it"
    assert f"threshold {found.threshold:g} for precision >= 0.6: {shown}" in capsys.readouterr().out
    assert found.describe() == {"temperature": found.temperature, "threshold": found.threshold}


def test_several_labels_have_a_threshold_each_by_name(fit, capsys):
    inputs, fitted = fit()
    inputs.model.config.problem_type = MULTI_LABEL
    rows = inputs.rows["validation"]
    rows.labels = np.eye(2, dtype=np.float32)[rows.labels]
    found = fitted(threshold="max f1", calibration="temperature")
    assert found.threshold is None
    assert len(inputs.model.config.thresholds) == 2
    assert "thresholds for max f1 on validation: no 0." in capsys.readouterr().out
    assert predict(inputs).correct.mean() > 0.8


def test_a_goal_that_is_not_reached_leaves_the_model_as_it_is(fit):
    inputs, fitted = fit({"train.num_train_epochs": 0.1, "train.learning_rate": 1e-6})
    before = {name: value.clone() for name, value in inputs.model.state_dict().items()}
    with pytest.raises(UserError, match=r"train.threshold: found 'recall >= 1'; no threshold reaches it on validation"):
        fitted(calibration="temperature", threshold="recall >= 1.0")
    assert all(torch.equal(value, before[name]) for name, value in inputs.model.state_dict().items())
    assert not {"calibration_temperature", "thresholds"} & vars(inputs.model.config).keys()


def test_a_temperature_of_one_is_explained(fit, monkeypatch, capsys):
    inputs, fitted = fit({"train.num_train_epochs": 6, "train.learning_rate": 3e-3})
    assert predict(inputs).correct.all()
    assert fitted(calibration="temperature").temperature == 1
    assert "temperature 1: no other one lowers the loss on validation, or there are too few" in capsys.readouterr().out


def test_after_an_unreachable_goal_the_stage_resumes_and_loses_nothing(tokenized, write_params, monkeypatch, capsys):
    changes = {"train.freeze_layers": 1, "train.num_train_epochs": 8, "train.learning_rate": 1e-2}

    def run(**keys):
        write_params(changes | {f"train.{key}": value for key, value in keys.items()})
        train.main()
        return (tokenized / "models/classifier/model.safetensors").read_bytes(), read_json(TRAIN_METRICS)

    with pytest.raises(UserError, match=r"train.threshold: found 'recall >= 1'; .*the training is kept"):
        run(threshold="recall >= 1.0")
    assert not (tokenized / "models/classifier").exists()
    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTrainer, "training_step", None)  # nothing is trained again
        weights, metrics = run(threshold="recall >= 0.1", calibration="temperature")
        assert "resuming after step" in capsys.readouterr().out
        config = read_json(tokenized / "models/classifier/config.json")
        assert metrics["temperature"] == config["calibration_temperature"] != 1
        assert [metrics["threshold"]] == config["thresholds"]
        plain, metrics = run()
    assert plain != weights
    assert not {"temperature", "threshold"} & set(metrics)
    shutil.rmtree(tokenized / ".cache/checkpoints")
    assert run()[0] == plain
