"""Experiments of DVC's queue that run at once share one MLflow store, one cache and the machine's cores."""

import shutil
import time

import mlflow


def wait_for_experiments(checkout, count):
    """The names of the experiments, when so many have ended well.

    `dvc queue status` asks the workers, and waits forever for one that is stuck at its end, as DVC's at times are.
    """
    for _ in range(300):
        names = checkout.run("dvc", "exp", "list", "--name-only").split()
        if len(names) == count:
            return names
        time.sleep(1)
    raise AssertionError(names)


def test_queued_experiments_that_run_at_once_each_have_a_finished_run(finished, tmp_path):
    checkout = finished.copy(tmp_path / "checkout")
    shutil.rmtree(checkout.folder / "mlruns")
    changes = ("-S", "train.freeze_layers=1", "-S", "train.learning_rate=2e-3,3e-3", "-S", "tracking.log_model=false")
    checkout.run("dvc", "exp", "run", "--queue", *changes)
    checkout.run("dvc", "queue", "start", "--jobs", "2")
    names = wait_for_experiments(checkout, 2)
    runs = checkout.runs()
    mlflow.set_tracking_uri(None)
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert sorted(run.info.run_name for run in runs) == sorted(names)
    assert sorted(run.data.params["train.learning_rate"] for run in runs) == ["0.002", "0.003"]
    computed = sorted(run.data.metrics["features/train_rows_computed"] for run in runs)
    assert computed[0] == 0 < computed[1]  # once
    log = (checkout.folder / "mlruns/sender.log").read_text()
    assert not any(word in log for word in ("locked", "refused", "Traceback", "rror:")), log
