import mlflow
import pytest
from transformers import TrainerState

from stages.lib.errors import UserError
from stages.lib.params import Tracking
from stages.lib.tracking import RunLogger, connect, log_datasets, log_results, open_run, provenance, resume_run

TRACKING = Tracking(experiment="test", log_model=False, system_metrics=False)
STATISTICS = {"raw_sha256": "a" * 64, "tokenized_sha256": "b" * 64}


@pytest.fixture(autouse=True)
def store(workspace, monkeypatch):
    """A store of its own for each test."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    yield
    mlflow.set_tracking_uri(None)


def the_run(run_id):
    return mlflow.MlflowClient().get_run(run_id)


def test_a_run_is_running_until_evaluate_completes_it(workspace):
    with open_run(TRACKING, {"seed": 1}, {"git.commit": "abc"}) as run:
        mlflow.log_metric("validation/accuracy", 0.5)
    assert the_run(run.info.run_id).info.status == "RUNNING"
    with resume_run(TRACKING, run.info.run_id, {}, {}):
        log_results({"accuracy": 0.9}, {"train_seconds": 3.0}, [workspace / "none"])
    finished = the_run(run.info.run_id)
    assert finished.info.status == "FINISHED"
    assert finished.data.metrics == {"validation/accuracy": 0.5, "test/accuracy": 0.9, "time/train_seconds": 3.0}
    assert finished.data.params == {"seed": "1"}
    assert finished.data.tags["git.commit"] == "abc"
    assert (workspace / "mlruns/mlflow.db").is_file()


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("boom"), "FAILED"), (UserError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_the_status_tells_how_a_run_ended(error, status):
    with pytest.raises(type(error)), open_run(TRACKING, {}, {}) as run:
        raise error
    assert the_run(run.info.run_id).info.status == status
    with pytest.raises(type(error)), resume_run(TRACKING, run.info.run_id, {}, {}):
        raise error
    assert the_run(run.info.run_id).info.status == status


def test_a_run_that_the_store_lacks_is_opened_anew():
    with resume_run(TRACKING, "0" * 32, {"seed": 3}, {"git.commit": "abc"}) as run:
        mlflow.log_metric("test/accuracy", 0.9)
    assert the_run(run.info.run_id).info.status == "FINISHED"
    assert the_run(run.info.run_id).data.params == {"seed": "3"}
    assert the_run(run.info.run_id).data.tags["train.run_id"] == "0" * 32


def test_another_evaluation_of_a_finished_run_is_a_run_of_its_own():
    with open_run(TRACKING, {}, {}) as first:
        pass
    with resume_run(TRACKING, first.info.run_id, {}, {}):
        mlflow.log_metric("test/accuracy", 0.9)
    with pytest.raises(RuntimeError, match="boom"), resume_run(TRACKING, first.info.run_id, {}, {}) as second:
        raise RuntimeError("boom")
    assert the_run(first.info.run_id).info.status == "FINISHED"
    assert the_run(second.info.run_id).info.status == "FAILED"
    assert the_run(second.info.run_id).data.tags["train.run_id"] == first.info.run_id


def test_the_run_is_named_after_the_dvc_experiment(monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "huge-idea")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c" * 40)
    tags = provenance(STATISTICS)
    with open_run(TRACKING, {}, tags) as run:
        pass
    assert run.info.run_name == "huge-idea"
    assert tags["dvc.exp_name"] == "huge-idea"
    assert tags["dvc.exp_baseline_rev"] == tags["git.commit"] == "c" * 40
    assert tags["data.raw_sha256"] == "a" * 64


def test_the_environment_chooses_another_store(workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace / 'other.db'}")
    with open_run(TRACKING, {}, {}):
        pass
    assert (workspace / "other.db").is_file()
    assert not (workspace / "mlruns/mlflow.db").exists()


def test_a_deleted_experiment_is_told():
    experiment_id = connect(TRACKING)
    mlflow.MlflowClient().delete_experiment(experiment_id)
    with pytest.raises(UserError, match=r"tracking.experiment: 'test' was deleted in MLflow"):
        connect(TRACKING)


def test_logs_of_trainer_are_grouped_by_step():
    with open_run(TRACKING, {}, {}) as run:
        for step, logs in ((10, {"loss": 0.7, "learning_rate": 1e-4}), (20, {"eval_accuracy": 0.8, "eval_runtime": 3})):
            RunLogger().on_log(None, TrainerState(global_step=step), None, logs)
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(10, 0.7)]
    assert set(the_run(run.info.run_id).data.metrics) == {"train/loss", "train/learning_rate", "validation/accuracy"}


def test_data_sets_are_inputs_with_their_digest_and_dropped_rows_and_leaks_are_counted():
    dropped = {"train": {"empty text": 2, "missing column 'x'": 1}, "test": {"empty text": 1}}
    with open_run(TRACKING, {}, {}) as run:
        log_datasets({
            "splits": {"train": {"raw_sha256": "d" * 64}}, "dropped": dropped, "columns": ["text", "label"],
            "leaks": {"train_and_test": 5},
        })  # fmt: skip
    data = the_run(run.info.run_id).inputs.dataset_inputs[0].dataset
    assert (data.name, data.digest) == ("train", "d" * 36)
    counts = {"data/dropped_rows": 4, "data/dropped/empty text": 3, "data/dropped/missing column x": 1}
    assert the_run(run.info.run_id).data.metrics == counts | {"data/leaks/train_and_test": 5}
