"""MLflow may be killed, stall or be full: a run continues, and what it logged arrives later, once and in order."""

import subprocess
import time
from pathlib import Path

import mlflow
import pytest
from support.mlflow_server import Server
from support.project import ROOT

from stages.core.param_sections import Tracking
from stages.sync import send_waiting
from stages.tracking import run as tracking
from stages.tracking.journal_folder import list_journals
from stages.tracking.run import log_datasets, log_results, open_run, resume_run

TRACKING = Tracking(experiment="outages", log_model=False, system_metrics=True, tensorboard=False)
STEPS = range(10, 210, 10)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()
    mlflow.set_tracking_uri(None)


@pytest.fixture(autouse=True)
def impatient(workspace, monkeypatch, server, warm_senders):
    """A server that works, with timeouts of seconds instead of minutes."""
    if not server.is_ready():
        server.recover()
    for name, value in {
        "MLFLOW_TRACKING_URI": server.url,
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "2",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "0.5",
        "PYTHONPATH": str(ROOT),
    }.items():
        monkeypatch.setenv(name, value)


def wait_until_sent(journal):
    """Wait until the journal has no unsent events."""
    for _ in range(300):
        if not journal.count_unsent():
            return
        subprocess.run(["sleep", "0.1"], check=True)
    raise AssertionError(Path("mlruns/sender.log").read_text())


def run_pipeline(workspace, moment, outage):
    """Log what `train` and `evaluate` log, with an outage at one moment."""
    if moment == "before":
        outage()
    splits = {"train": {"raw_sha256": "d" * 64, "rows": 10}}
    statistics = {"splits": splits, "dropped": {}, "leaks": {}, "columns": ["text", "label"]}
    with open_run(TRACKING, {"seed": 1}, {"git.commit": "abc"}, {"moment": moment, "outage": str(outage)}) as run:
        log_datasets(run, statistics)
        for step in STEPS:
            run.log_metrics({"train/loss": 1 / step, "train/epoch": step / 200}, step)
            if step == 100 and moment == "during":
                wait_until_sent(run)
                outage()
    (workspace / "table.csv").write_text("a,b")
    with resume_run(TRACKING, run.key, {"seed": 1}, {}, history=()):
        if moment == "at the end":
            wait_until_sent(run)
            outage()
        log_results(run, {"accuracy": 0.9}, {"train_seconds": 3.0}, [workspace / "table.csv"])
    return run


@pytest.mark.parametrize("outage", ["kill", "stall", "fill"])
@pytest.mark.parametrize("moment", ["before", "during", "at the end"])
def test_a_run_survives_an_outage_and_arrives_once_and_in_order(server, workspace, monkeypatch, capfd, moment, outage):
    monkeypatch.setattr(tracking, "SECONDS_WITHOUT_PROGRESS", 3)
    run = run_pipeline(workspace, moment, getattr(server, outage))
    warnings = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) in (1, 2)  # of `train` and of `evaluate`, one each
    assert "are sent with the next run, or by python -m stages.sync" in warnings[-1]
    server.recover()
    send_waiting_events()
    assert list_journals() == []
    check_arrived(run.key)


def send_waiting_events():
    """What `python -m stages.sync` does first; again while the sender of the run has it, or the server is not back."""
    for _ in range(100):
        if send_waiting() == 0 and not list_journals():
            return
        time.sleep(0.2)
    raise AssertionError(Path("mlruns/sender.log").read_text())


def check_arrived(key):
    (stored,) = mlflow.search_runs(
        experiment_names=["outages"], filter_string=f"tags.`pipeline.run` = '{key}'", output_format="list"
    )
    assert stored.info.status == "FINISHED"
    assert stored.data.params == {"seed": "1"}
    assert stored.data.tags["git.commit"] == "abc"
    assert stored.data.metrics["test/accuracy"] == 0.9
    client = mlflow.MlflowClient()
    for name, value in (("train/loss", lambda step: 1 / step), ("train/epoch", lambda step: step / 200)):
        points = client.get_metric_history(stored.info.run_id, name)
        assert [(point.step, point.value) for point in points] == [(step, value(step)) for step in STEPS]
        times = [point.timestamp for point in points]
        assert times == sorted(times)
    assert [data.dataset.name for data in stored.inputs.dataset_inputs] == ["train"]
    assert [file.path for file in client.list_artifacts(stored.info.run_id)] == ["table.csv"]
    system = client.get_metric_history(stored.info.run_id, "system/cpu_utilization_percentage")
    assert len({point.step for point in system}) == len(system)


def test_without_an_outage_all_arrives_and_nothing_is_printed(server, workspace, capfd):
    run = run_pipeline(workspace, "never", None)
    assert "warning" not in capfd.readouterr().err
    check_arrived(run.key)
    assert list_journals() == []
