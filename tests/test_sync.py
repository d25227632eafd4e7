"""DVC and MLflow tell one story, in a real checkout."""

import mlflow
import pytest


@pytest.fixture(scope="module")
def checkout(finished, tmp_path_factory):
    """After `dvc repro`, an experiment, and the same experiment again, which DVC restored from its cache."""
    checkout = finished.copy(tmp_path_factory.mktemp("sync") / "checkout")
    checkout.run("dvc", "exp", "run", "-n", "first", "-S", "train.freeze_layers=1")
    checkout.restored = checkout.run("dvc", "exp", "run", "--temp", "-n", "again", "-S", "train.freeze_layers=1")
    yield checkout
    mlflow.set_tracking_uri(None)


def sync(checkout, *options, fails=False):
    return checkout.run("python", "-m", "stages.sync", *options, fails=fails)


def curve(run):
    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, "validation/accuracy")
    return [(point.step, point.value) for point in points]


def test_an_experiment_that_dvc_restored_gets_its_run(checkout):
    assert "Running stage" not in checkout.restored
    missing = "again: differs\n  MLflow has no run of it; python -m stages.sync makes one\n"
    assert missing in sync(checkout, "--check", fails=True)
    assert "again: restored from DVC as run" in sync(checkout)
    runs = {run.info.run_name: run for run in checkout.runs()}
    assert len(checkout.runs()) == 3
    first, again = runs["first"], runs["again"]
    assert again.data.tags["restored"] == "true"
    assert again.data.tags["restored.from"] == first.data.tags["pipeline.run"]
    assert again.info.status == "FINISHED"
    assert again.data.params | {"truncation": "True"} == first.data.params  # which MLflow adds to what logs a model
    assert again.data.metrics["test/accuracy"] == first.data.metrics["test/accuracy"]
    assert curve(again) == curve(first) != []
    names = {file.path for file in mlflow.MlflowClient().list_artifacts(again.info.run_id)}
    assert names == {"params.yaml", "plots", "reports"}


def test_each_experiment_has_its_run_and_nothing_is_restored_twice(checkout):
    output = sync(checkout)
    assert [line.split(":")[1][:10] for line in output.splitlines()] == [" as in run"] * 3
    assert len(checkout.runs()) == 3


def test_the_check_reports_what_does_not_match(checkout):
    run = next(run for run in checkout.runs() if run.info.run_name == "first")
    accuracy = run.data.metrics["test/accuracy"]
    mlflow.MlflowClient().log_metric(run.info.run_id, "test/accuracy", 0.123)
    output = sync(checkout, "--check", fails=True)
    assert f"metric test/accuracy: {accuracy} in DVC, 0.123 in MLflow" in output
    assert "of 3 experiments of DVC, 1 not as MLflow shows them" in output
    mlflow.MlflowClient().log_metric(run.info.run_id, "test/accuracy", accuracy)
    sync(checkout, "--check")


def test_a_store_that_was_lost_is_made_again(checkout):
    (checkout.folder / "mlruns").rename(checkout.folder / "lost")
    assert sync(checkout).count("restored from DVC as run") == 3
    sync(checkout, "--check")
    assert {run.info.run_name for run in checkout.runs()} >= {"first", "again"}
