"""`examples/experiments_on_ray.py` on a real Ray of one machine."""

import mlflow
import pytest

SCRIPT = "examples/experiments_on_ray.py"
SHORT = "train.freeze_layers=1 tracking.log_model=false"


def test_each_task_runs_its_experiment_and_one_that_fails_is_an_exit_code(finished, tmp_path):
    pytest.importorskip("ray", reason="needs pip install -e '.[ray]'")
    checkout = finished.copy(tmp_path / "checkout")
    (checkout.folder / "mlruns/mlflow.db").unlink()
    settings = [f"train.learning_rate={rate} {SHORT}" for rate in ("2e-3", "3e-3", "-1")]
    output = checkout.run("python", SCRIPT, *settings, fails=True, RAY_USAGE_STATS_ENABLED="0")
    assert "1 of 3 experiments failed" in output
    assert "train.learning_rate: found -1" in output
    runs = checkout.runs()
    mlflow.set_tracking_uri(None)
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert sorted(run.data.params["train.learning_rate"] for run in runs) == ["0.002", "0.003"]
