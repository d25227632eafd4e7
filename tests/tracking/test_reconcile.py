from types import SimpleNamespace

import mlflow
import pytest

from stages.tracking.journal import Journal
from stages.tracking.mlflow_sender import send
from stages.tracking.mlflow_store import connect
from stages.tracking.reconcile import find_differences, find_run
from stages.tracking.run import stringify

STATISTICS = {"raw_sha256": "a" * 64, "tokenized_sha256": "b" * 64}


@pytest.fixture
def experiment(params, workspace, monkeypatch):
    """A DVC experiment with a name, params and metrics that are unusual, whose run was sent."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    values = params(
        {
            "data.source": "csv",
            "data.path": "http://me:secret@host/a.csv?sig=secret",
            "data.label_names": {number: f"label {number} " + "x" * 100 for number in range(100)},
            "tracking.experiment": "it's mine",
        }
    )
    metrics = {"test/loss": float("nan"), "test/margin": float("inf"), "test/accuracy": 0.9}
    tags = {f"data.{key}": value for key, value in STATISTICS.items()}
    tags |= {"dvc.exp_name": "it's", "dvc.exp_baseline_rev": "abc"}
    run = Journal.create(uri=None, experiment="it's mine", name="it's", tags=tags)
    run.log_event("params", params=stringify(values.flat()))
    run.log_metrics(metrics)
    run.log_event("status", status="FINISHED")
    send(run)
    yield SimpleNamespace(name="it's", baseline="abc", params=values, metrics=metrics, statistics=STATISTICS)
    mlflow.set_tracking_uri(None)


def test_quotes_long_texts_secrets_and_odd_numbers_are_no_differences(experiment):
    run = find_run(experiment, connect(None))
    assert find_differences(experiment, run) == []
    experiment.metrics["test/accuracy"] = float("nan")
    assert find_differences(experiment, run) == ["metric test/accuracy: nan in DVC, 0.9 in MLflow"]
