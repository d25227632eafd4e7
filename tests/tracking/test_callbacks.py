import sys

import pytest

from stages import train
from stages.core.errors import UserError
from stages.core.files import sha256

CHANGES = {
    "data.max_train_samples": 40, "data.max_test_samples": 10, "train.freeze_layers": 0, "train.logging_steps": 1,
    "tracking.log_model": False, "tracking.system_metrics": False,
}  # fmt: skip


@pytest.fixture
def fit(tokenized, write_params, monkeypatch, tiny_model):
    """Train without checkpoints; return the SHA-256 of the weights, and the name of the folder of checkpoints."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # nothing is sent

    def run(tensorboard):
        write_params(CHANGES | {"model.name": str(tiny_model), "tracking.tensorboard": tensorboard})
        monkeypatch.setenv("PIPELINE_CACHE", str(tokenized / f"cache_{tensorboard}"))
        train.main()
        (checkpoints,) = tokenized.glob(f"cache_{tensorboard}/checkpoints/*/")
        return sha256(tokenized / "models/classifier/model.safetensors"), checkpoints.name

    return run


def test_tensorboard_shows_the_curves_and_changes_neither_the_model_nor_the_name_of_its_checkpoints(fit, tokenized):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert fit(False) == fit(True)
    (folder,) = tokenized.glob("mlruns/tensorboard/repro-no-commit-*")
    events = accumulator.EventAccumulator(str(folder)).Reload()
    logged = [float(line.split(",")[2]) for line in (tokenized / "plots/training.csv").read_text().splitlines()[1:]]
    assert [point.value for point in events.Scalars("train/loss")] == pytest.approx(logged)
    assert "eval/accuracy" in events.Tags()["scalars"]


def test_a_missing_package_is_an_error(fit, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"tracking.tensorboard: found true; .* -e '.\[tensorboard\]'"):
        fit(True)
