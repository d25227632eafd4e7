"""Tracking for a team: experiments that run at once log to an MLflow server on PostgreSQL, which keeps files in S3."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from support.mlflow_server import Server
from support.postgresql import run_postgresql
from support.s3 import CREDENTIALS, run_s3

RATES = [f"{number}e-3" for number in range(1, 9)]
SHORT = (
    *("train.freeze_layers=1", "train.num_train_epochs=1", "train.per_device_train_batch_size=200"),  # one step
    *("train.logging_steps=1", "tracking.system_metrics=false"),
)
NO_CREDENTIALS = dict.fromkeys(CREDENTIALS, "")  # clients have none: the server sends their files to S3


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    with ExitStack() as servers:
        database = servers.enter_context(run_postgresql()).replace("postgresql:", "postgresql+psycopg:")
        address = servers.enter_context(run_s3(folder))
        servers.enter_context(pytest.MonkeyPatch.context()).setenv("MLFLOW_S3_ENDPOINT_URL", address)
        server = Server(folder, database, "s3://store/mlflow")
        servers.callback(server.kill)
        server.start()
        yield server


@pytest.fixture(scope="module")
def checkout(finished, server, tmp_path_factory):
    """A checkout after eight experiments that ran at once; the first one logged its model."""
    checkout = finished.copy(tmp_path_factory.mktemp("team") / "checkout")
    (checkout.folder / "mlruns/mlflow.db").unlink()

    def run(rate):
        changes = [f"train.learning_rate={rate}", f"tracking.log_model={str(rate == RATES[0]).lower()}", *SHORT]
        return checkout.run(
            *("dvc", "--wait-for-lock", "exp", "run", "--temp"), *(part for one in changes for part in ("-S", one)),
            MLFLOW_TRACKING_URI=server.url, **NO_CREDENTIALS,
        )  # fmt: skip

    with ThreadPoolExecutor(len(RATES)) as pool:
        list(pool.map(run, RATES))
    return checkout


@pytest.fixture
def client(server):
    yield MlflowClient(server.url)
    mlflow.set_tracking_uri(None)


@pytest.fixture
def runs(checkout, client):
    experiment = client.get_experiment_by_name("text-classifier")
    return client.search_runs([experiment.experiment_id])


def test_eight_experiments_at_once_have_a_finished_run_each(checkout, runs):
    assert [run.info.status for run in runs] == ["FINISHED"] * 8
    names = checkout.run("dvc", "exp", "list", "--name-only").split()
    assert sorted(run.info.run_name for run in runs) == sorted(names)
    assert sorted(float(run.data.params["train.learning_rate"]) for run in runs) == sorted(map(float, RATES))


def test_each_run_has_its_metrics_and_files_once(client, runs, tmp_path):
    files = {path.path for path in client.list_artifacts(runs[0].info.run_id)}
    assert {"params.yaml", "reports"} <= files
    for run in runs:
        assert "test/accuracy" in run.data.metrics
        assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 1
        assert {path.path for path in client.list_artifacts(run.info.run_id)} == files
        params = Path(client.download_artifacts(run.info.run_id, "params.yaml", str(tmp_path))).read_text()
        assert f"learning_rate: {float(run.data.params['train.learning_rate'])}" in params


def test_the_one_model_that_was_logged_can_be_downloaded(client, runs, server, tmp_path):
    (model,) = client.search_logged_models([runs[0].info.experiment_id])
    (run,) = [run for run in runs if run.info.run_id == model.source_run_id]
    mlflow.set_tracking_uri(server.url)
    folder = mlflow.artifacts.download_artifacts(f"models:/{model.model_id}", dst_path=str(tmp_path))
    (weights,) = Path(folder).rglob("*.safetensors")
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == run.data.tags["model.sha256"]


def test_nothing_is_left_to_send(checkout):
    assert list((checkout.folder / "mlruns").glob("journal/*")) == []
    assert not (checkout.folder / "mlruns/mlflow.db").exists()
    log = (checkout.folder / "mlruns/sender.log").read_text()
    assert not any(word in log for word in ("locked", "refused", "Traceback", "rror:")), log
