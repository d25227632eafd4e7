"""Experiments of DVC's queue that run at once share one MLflow store, one cache and the machine's cores."""

import contextlib
import shutil
import time

import mlflow
import psutil
import pytest


@pytest.fixture
def checkout(finished, tmp_path):
    """Its workers end with the test: of two that start at once, DVC sometimes does not reach one, which then stays."""
    checkout = finished.copy(tmp_path / "checkout")
    yield checkout
    mlflow.set_tracking_uri(None)
    for file in (checkout.folder / ".dvc/tmp/exps/celery").glob("*.pid"):
        with contextlib.suppress(psutil.NoSuchProcess):
            worker = psutil.Process(int(file.read_text()))
            if "queue-worker" in worker.cmdline():
                worker.terminate()


def wait_for_experiments(checkout, count):
    """The names of the experiments, when so many have ended well."""
    for _ in range(300):
        names = checkout.run("dvc", "exp", "list", "--name-only").split()
        if len(names) == count:
            return names
        time.sleep(1)
    raise AssertionError(names)


def test_queued_experiments_that_run_at_once_each_have_a_finished_run(checkout):
    shutil.rmtree(checkout.folder / "mlruns")
    changes = ("-S", "train.freeze_layers=1", "-S", "train.learning_rate=2e-3,3e-3", "-S", "tracking.log_model=false")
    checkout.run("dvc", "exp", "run", "--queue", *changes)
    checkout.run("dvc", "queue", "start", "--jobs", "2")
    names = wait_for_experiments(checkout, 2)
    runs = checkout.runs()
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert sorted(run.info.run_name for run in runs) == sorted(names)
    assert sorted(run.data.params["train.learning_rate"] for run in runs) == ["0.002", "0.003"]
    computed = sorted(run.data.metrics["features/train_rows_computed"] for run in runs)
    assert computed[0] == 0 < computed[1]  # once
    log = (checkout.folder / "mlruns/sender.log").read_text()
    assert not any(word in log for word in ("locked", "refused", "Traceback", "rror:")), log
