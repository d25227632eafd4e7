"""DVC and MLflow agree, in a real checkout."""

import mlflow
import pytest
from mlflow import MlflowClient

from stages.core.errors import UserError
from stages.core.request_limits import REQUEST_LIMITS
from stages.tracking.journal import Journal
from stages.tracking.reconcile import try_to_reconcile


@pytest.fixture(scope="module")
def checkout(experimented, tmp_path_factory):
    """After `dvc repro`, an experiment, and the same experiment again, which DVC restored from its cache."""
    checkout = experimented.copy(tmp_path_factory.mktemp("sync") / "checkout")
    checkout.restored = checkout.run("dvc", "exp", "run", "--temp", "-n", "again", "-S", "train.freeze_layers=1")
    yield checkout
    mlflow.set_tracking_uri(None)


def sync(checkout, *options, fails=False, **variables):
    return checkout.run("python", "-m", "stages.sync", *options, fails=fails, **variables)


def curve(run):
    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, "validation/accuracy")
    return [(point.step, point.value) for point in points]


def test_an_experiment_that_dvc_restored_gets_its_run(checkout):
    assert "Running stage" not in checkout.restored
    missing = "again: differs\n  MLflow has no run of it; python -m stages.sync restores it\n"
    assert missing in sync(checkout, "--check", fails=True)
    assert "again: restored from DVC as run" in sync(checkout)
    runs = {run.info.run_name: run for run in checkout.runs()}
    assert len(checkout.runs()) == 3
    first, again = runs["first"], runs["again"]
    assert again.data.tags["restored"] == "true"
    assert again.data.tags["restored.from"] == first.data.tags["pipeline.run"]
    assert again.info.status == "FINISHED"
    served = {"precision": "auto"} | {name: str(most) for name, most in REQUEST_LIMITS.items()}
    assert again.data.params | served == first.data.params  # which MLflow adds to what logs a model
    assert again.data.metrics["test/accuracy"] == first.data.metrics["test/accuracy"]
    assert curve(again) == curve(first) != []
    names = {file.path for file in mlflow.MlflowClient().list_artifacts(again.info.run_id)}
    assert names == {"params.yaml", "plots", "reports"}


def test_each_experiment_has_its_run_and_nothing_is_restored_twice(checkout):
    output = sync(checkout)
    assert [line.split(":")[1][:16] for line in output.splitlines()] == [" agrees with run"] * 3, output
    assert len(checkout.runs()) == 3


def test_the_check_reports_differences(checkout):
    run = next(run for run in checkout.runs() if run.info.run_name == "first")
    accuracy = run.data.metrics["test/accuracy"]
    mlflow.MlflowClient().log_metric(run.info.run_id, "test/accuracy", 0.123)
    output = sync(checkout, "--check", fails=True)
    assert f"metric test/accuracy: {accuracy} in DVC, 0.123 in MLflow" in output
    assert "1 of 3 DVC experiments do not agree with MLflow" in output
    mlflow.MlflowClient().log_metric(run.info.run_id, "test/accuracy", accuracy)
    sync(checkout, "--check")


def test_of_several_runs_of_a_commit_the_one_that_agrees_is_compared(checkout):
    checkout.run("dvc", "exp", "run", "-n", "fewer", "-S", "evaluate.num_mistakes=1")
    assert "differs" not in sync(checkout, "--check")
    hashes = {run.info.run_name: run.data.tags["model.sha256"] for run in checkout.runs()}
    assert hashes["fewer"] == hashes["first"] == hashes["again"]


def test_stages_leave_nothing_in_the_checkout_that_git_does_not_ignore(checkout):
    assert "??" not in checkout.run("git", "status", "--short")
    assert not (checkout.folder / "mlflow.db").exists()
    assert list((checkout.folder / "mlruns").glob("unconfirmed/*")) == []


def test_another_store_gets_all_runs_while_a_waiting_journal_is_sent_to_its_own_store(checkout, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(checkout.folder))
    Journal.create(uri=None, experiment="text-classifier", name="waited", tags={}).log_event("status", status="KILLED")
    count, store = len(checkout.runs()), {"MLFLOW_TRACKING_URI": f"sqlite:///{checkout.folder}/other.db"}
    assert sync(checkout, "--check", fails=True, **store).count("MLflow has no run of it") == 4
    assert sync(checkout, **store).count("restored from DVC as run") == 4
    sync(checkout, "--check", **store)
    assert [run.info.run_name for run in checkout.runs()[count:]] == ["waited"]


def test_the_run_of_a_temporary_copy_is_not_lost_when_the_store_has_a_relative_path(checkout):
    """Its name has a quote, which MLflow's filters cannot write."""
    store = {"MLFLOW_TRACKING_URI": "sqlite:///mlruns/mlflow.db"}
    changes = ("-S", "train.freeze_layers=1", "-S", "train.learning_rate=2e-3")
    checkout.run("dvc", "exp", "run", "--temp", "-n", "it's", *changes, **store)
    assert checkout.runs()[-1].info.run_name == "it's"
    assert checkout.runs()[-1].info.status == "FINISHED"
    assert "it's: agrees with run" in sync(checkout, "--check", **store)


def test_a_server_that_is_down_is_one_message(checkout):
    output = sync(checkout, fails=True, MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    assert output.strip() == "error in sync: MLflow at http://127.0.0.1:9: it cannot be reached, ConnectionError"


def test_no_secret_of_the_stores_address_is_shown_or_stored(checkout):
    address = "http://me:PLANTED@127.0.0.1:9/?token=PLANTED"
    down = {"MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    output = checkout.run("dvc", "repro", "--force", "--single-item", "evaluate", **down)
    assert "warning: MLflow at http://***@127.0.0.1:9/?token=*** did not accept all events" in output
    output += sync(checkout, fails=True, **down)
    assert "PLANTED" not in output
    assert (checkout.folder / "mlruns/sender.log").stat().st_size
    files = [path for path in checkout.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if b"PLANTED" in path.read_bytes()]


class OldExperiment:
    is_finished = True

    @property
    def params(self):
        raise UserError("params.yaml: train.old: unknown key")

    def __str__(self):
        return "old"


def test_an_experiment_of_another_version_does_not_stop_the_others(workspace, monkeypatch, capsys):
    monkeypatch.setattr("stages.tracking.reconcile.connect", lambda uri: MlflowClient("http://unused"))
    assert not try_to_reconcile(OldExperiment(), None, check=True)
    assert capsys.readouterr().out == "old: cannot be compared: params.yaml: train.old: unknown key\n"
