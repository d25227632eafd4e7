import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from base64 import b64decode
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context

import mlflow
import pytest
from support.project import ROOT

from stages.sync import send_waiting
from stages.tracking.journal import Journal
from stages.tracking.journal_folder import list_journals
from stages.tracking.mlflow_sender import send
from stages.tracking.mlflow_store import (
    NotSentError,
    connect,
    find_experiment,
    find_logged_models,
    find_runs,
    is_stored_as,
)
from stages.tracking.provenance import KEY_TAG
from stages.tracking.run import stringify
from stages.tracking.store_uri import read_store_uri


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """An empty one; making its tables takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        connect(None)
    return folder / "mlruns"


@pytest.fixture(autouse=True)
def own_store(workspace, database, monkeypatch, request):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if "without_store" not in request.keywords:
        shutil.copytree(database, workspace / "mlruns")
    yield
    mlflow.set_tracking_uri(None)


def create_journal(**values):
    return Journal.create(**{"uri": None, "experiment": "test", "name": "run", "tags": {"git.commit": "abc"}} | values)


def find_files_with(text, folder):
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def read_stored_run(journal):
    return connect(None).get_run(journal.run_id)


def log_all(journal, workspace):
    """An event of each kind but the model."""
    journal.log_event("status", status="RUNNING")
    journal.log_event("params", params={"seed": "1"})
    journal.log_event("datasets", digests={"train": "d" * 64}, rows={"train": 9}, columns=["text", "label"])
    for step in range(5):
        journal.log_metrics({"train/loss": 1 / (step + 1)}, step)
    (workspace / "table.csv").write_text("a,b")
    (workspace / "reports").mkdir(exist_ok=True)
    (workspace / "reports/rows.csv").write_text("c,d")
    journal.log_file("artifact", workspace / "table.csv")
    journal.log_file("artifact", workspace / "reports")
    journal.log_event("name", name="other", tags={"dvc.exp_name": "other"})
    journal.log_event("status", status="FINISHED")


def test_all_that_was_logged_is_in_the_run(workspace):
    journal = create_journal()
    log_all(journal, workspace)
    assert send(journal) == 13
    run = read_stored_run(journal)
    assert (run.info.run_name, run.info.status) == ("other", "FINISHED")
    times = [event["time"] for event, _ in journal.read()]
    assert (run.info.start_time, run.info.end_time) == (times[0], times[-1])
    assert run.data.params == {"seed": "1"}
    assert run.data.tags | {"git.commit": "abc", "dvc.exp_name": "other", KEY_TAG: journal.key} == run.data.tags
    points = connect(None).get_metric_history(journal.run_id, "train/loss")
    assert [(point.step, point.value) for point in points] == [(step, 1 / (step + 1)) for step in range(5)]
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36
    client = connect(None)
    assert {file.path for file in client.list_artifacts(journal.run_id)} == {"table.csv", "reports"}
    assert [file.path for file in client.list_artifacts(journal.run_id, "reports")] == ["reports/rows.csv"]


def test_events_that_are_sent_again_are_stored_once(workspace):
    journal = create_journal()
    log_all(journal, workspace)
    send(journal)
    journal.set_state(sent=0, run_id=None)
    send(journal)
    client = connect(None)
    assert len(client.search_runs([find_experiment(client, "test")])) == 1
    assert len(client.get_metric_history(journal.run_id, "train/loss")) == 5
    assert read_stored_run(journal).info.status == "FINISHED"


def test_a_sender_that_logs_a_model_imports_neither_torch_nor_transformers_nor_dvc(workspace):
    (workspace / "model").mkdir()
    (workspace / "model/config.json").write_text('{"id2label": {"0": "good", "1": "bad"}}')
    journal = create_journal()
    journal.log_file("model", workspace / "model", columns=["text"])
    code = "import sys; from stages.sync import open_journal, send; print(send(open_journal(sys.argv[1])))"
    code += "; print(*{'dvc', 'torch', 'transformers'} & set(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, journal.key], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "2\n\n"), done.stderr
    (model,) = find_logged_models(connect(None), read_stored_run(journal))
    assert model.status == "READY"


def test_only_what_is_new_is_sent():
    journal = create_journal()
    assert send(journal) == 1
    journal.log_metrics({"test/accuracy": 0.9})
    assert send(journal) == 1
    assert send(journal) == 0


def test_a_run_without_a_running_stage_is_scheduled():
    journal = create_journal()
    send(journal)
    assert read_stored_run(journal).info.status == "SCHEDULED"


@pytest.mark.parametrize(("last", "shown"), [("RUNNING", "RUNNING"), ("PAUSED", "SCHEDULED"), ("KILLED", "KILLED")])
def test_the_status_that_was_logged_last_is_shown(last, shown):
    journal = create_journal()
    for status in ("KILLED", "RUNNING", last):
        journal.log_event("status", status=status)
    send(journal)
    assert read_stored_run(journal).info.status == shown


def test_a_store_that_lost_a_run_gets_all_of_its_events_again(workspace):
    journal = create_journal()
    journal.log_event("params", params={"seed": "1"})
    send(journal)
    with sqlite3.connect(workspace / "mlruns/mlflow.db") as database:
        for table in ("params", "tags", "runs"):
            database.execute(f"DELETE FROM {table}")
    journal.log_metrics({"test/accuracy": 0.9})
    with pytest.raises(NotSentError, match="not found"):
        send(journal)
    assert send(journal) == 3
    assert read_stored_run(journal).data.params == {"seed": "1"}
    assert read_stored_run(journal).data.metrics == {"test/accuracy": 0.9}


def test_an_event_that_cannot_be_sent_holds_up_only_its_own_run(workspace, capsys):
    (workspace / "model").mkdir()
    broken, other = create_journal(name="broken"), create_journal(name="other")
    broken.log_file("model", workspace / "model", columns=["text"])
    for journal in (broken, other):
        journal.log_event("status", status="FINISHED")
    assert send_waiting() == 1
    assert [one.key for one in list_journals()] == [broken.key]
    output = capsys.readouterr().out
    assert f"broken ({broken.key}): 2 events not sent: " in output
    assert f"other ({other.key}): 2 events sent to MLflow" in output


def test_a_journal_that_cannot_be_written_holds_up_no_other(capsys):
    one, other = create_journal(name="one"), create_journal(name="other")
    (one.folder / "state.json").mkdir()
    assert send_waiting() == 1
    output = capsys.readouterr().out
    assert f"one ({one.key}): 1 events not sent: IsADirectoryError" in output
    assert f"other ({other.key}): 1 events sent to MLflow" in output


def test_a_store_that_is_down_is_tried_once_and_others_are_sent_to(monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    down = [create_journal(name=f"run-{number}", uri="http://127.0.0.1:9") for number in range(3)]
    up = create_journal(name="local")
    assert send_waiting() == len(down)
    output = capsys.readouterr().out
    assert output.count("1 events not sent: it cannot be reached, ConnectionError") == 1
    assert f"local ({up.key}): 1 events sent to MLflow" in output


def test_an_event_that_mlflow_never_accepts_does_not_hold_up_the_rest(capsys):
    journal = create_journal()
    journal.log_event("params", params={"seed": "1"})
    journal.log_event("params", params={"seed": "2"})
    journal.log_metrics({"test/accuracy": 0.9})
    send(journal)
    assert "refused by MLflow" in capsys.readouterr().out
    assert read_stored_run(journal).data.params == {"seed": "1"}
    assert read_stored_run(journal).data.metrics == {"test/accuracy": 0.9}


def test_a_deleted_experiment_keeps_its_runs_waiting():
    client = connect(None)
    client.delete_experiment(find_experiment(client, "test"))
    journal = create_journal()
    with pytest.raises(NotSentError, match=r"its experiment 'test'.* was deleted; restore it"):
        send(journal)
    assert journal.count_unsent() == 1
    client.restore_experiment(client.get_experiment_by_name("test").experiment_id)
    assert send(journal) == 1
    assert journal.state["error"] is None


def test_the_database_lets_many_read_while_one_writes(workspace):
    connect(None)
    with sqlite3.connect(workspace / "mlruns/mlflow.db") as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def send_one(number):
    journal = create_journal(name=f"run-{number}")
    for step in range(20):
        journal.log_event("metrics", metrics={"train/loss": 1.0}, step=step)
        send(journal)
    journal.log_event("status", status="FINISHED")
    send(journal)


@pytest.mark.without_store
def test_many_processes_create_the_store_and_write_to_it_at_once(workspace):
    context = get_context("forkserver")
    context.set_forkserver_preload(["stages.sync"])  # MLflow is imported once, not by each process
    with ProcessPoolExecutor(4, context) as pool:
        list(pool.map(send_one, range(4)))
    client = connect(None)
    runs = client.search_runs([find_experiment(client, "test")])
    assert sorted((run.info.run_name, run.info.status) for run in runs) == [
        (f"run-{number}", "FINISHED") for number in range(4)
    ]
    assert {len(client.get_metric_history(run.info.run_id, "train/loss")) for run in runs} == {20}
    assert {json.dumps(journal.state["error"]) for journal in list_journals()} == {"null"}


def test_an_experiment_gets_its_description_once_and_keeps_what_its_user_writes():
    client = connect(None)
    experiment_id = find_experiment(client, "test")
    tags = client.get_experiment(experiment_id).tags
    assert f"(#/experiments/{experiment_id}/runs?" in tags["mlflow.note.content"]
    client.set_experiment_tag(experiment_id, "mlflow.note.content", "mine")
    find_experiment(client, "test")
    assert client.get_experiment(experiment_id).tags == tags | {"mlflow.note.content": "mine"}


def test_a_run_of_a_temporary_copy_is_sent_to_the_main_checkout_with_its_files(workspace, monkeypatch):
    copy = workspace / ".dvc/tmp/exps/temp"
    copy.mkdir(parents=True)
    (copy / "table.csv").write_text("a,b")
    monkeypatch.chdir(copy)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    journal = create_journal(uri=read_store_uri())
    journal.log_file("artifact", copy / "table.csv")
    send(journal)
    assert [path for path in copy.rglob("*") if path.name != "table.csv"] == []
    client = connect(f"sqlite:///{workspace}/other.db")
    assert [file.path for file in client.list_artifacts(journal.run_id)] == ["table.csv"]
    assert list(workspace.glob("mlruns/artifacts/*/artifacts/table.csv"))


@pytest.fixture
def guarded():
    """A server that answers each request with an empty object, and keeps the user and password that it was given."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.given.append(b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode())
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.given = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_password_of_a_server_is_taken_from_the_environment_and_is_in_no_journal(guarded, monkeypatch, workspace):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:PLANTED@127.0.0.1:{guarded.server_port}")
    journal = create_journal(uri=read_store_uri())
    for _ in range(2):  # MLflow changes the variable
        connect(None)
        connect(journal.start_event["uri"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "you")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "SECOND")
    connect(journal.start_event["uri"])
    assert guarded.given == ["me:PLANTED"] * 2 + ["you:SECOND"]
    assert find_files_with("PLANTED", workspace) == []


def test_errors_of_sending_show_no_secrets(monkeypatch, workspace, capsys):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "unknown://me:PLANTED@host/path?token=PLANTED")
    journal = create_journal(uri=read_store_uri())
    with pytest.raises(NotSentError, match="unknown") as caught:
        send(journal)
    assert send_waiting() == 1
    shown = str(caught.value) + "".join(capsys.readouterr())
    assert "PLANTED" not in shown
    assert "unknown://***@host/path?token=***" in shown
    assert find_files_with("PLANTED", workspace) == []


def test_a_refused_event_is_printed_without_secrets(capsys):
    journal = create_journal()
    for address in ("http://u:PLANTED@one/a", "http://u:PLANTED@two/a"):
        journal.log_event("params", params={"data.path": address})
    with journal.events.open("a") as file:  # by an earlier version
        file.write('{"kind": "params", "time": 1, "params": {"data.path": "http://u:PLANTED@three/a"}}\n')
    send(journal)
    output = capsys.readouterr().out
    assert output.count("refused by MLflow") == 2
    assert "PLANTED" not in output


NAMES = ["it's", 'say "so"', """it's "so" `too`""", "a_b%", "ends\\", "it's -- x; y", "größe'", "'"]


def test_runs_are_found_by_a_tag_with_any_characters():
    client = connect(None)
    experiment_id = find_experiment(client, 'it\'s "one"')
    for name in [*NAMES, "itXs", "IT'S"]:
        client.create_run(experiment_id, tags={"dvc.exp_name": name})
    for name in NAMES:
        found = find_runs(client, experiment_id, "dvc.exp_name", name)
        assert [run.data.tags["dvc.exp_name"] for run in found] == [name]


def test_a_run_that_mlflow_refuses_holds_up_nothing_and_its_journal_is_deleted(capsys):
    journal = create_journal(experiment="x" * 600)
    journal.log_event("status", status="RUNNING")
    assert send_waiting() == 0
    assert "refused by MLflow" in capsys.readouterr().out
    journal.log_metrics({"test/accuracy": 0.9})
    journal.log_event("status", status="FINISHED")
    assert send_waiting() == 0
    assert list_journals() == []


def test_a_value_that_mlflow_refuses_does_not_cost_those_beside_it(capsys):
    journal = create_journal()
    journal.log_metrics({"data/dropped/": 1, "test/accuracy": 0.9, "what?": 2})
    journal.log_metrics({"test/loss": 0.3})
    journal.log_event("params", params={"seed": "1", "a" * 300: "2"})
    send(journal)
    run = read_stored_run(journal)
    assert (run.data.metrics, run.data.params) == ({"test/accuracy": 0.9, "test/loss": 0.3}, {"seed": "1"})
    assert capsys.readouterr().out.count("refused by MLflow") == 3


def test_texts_and_numbers_of_any_kind_are_stored_and_compared():
    journal = create_journal(name="\ud800", tags={"note": "\udcff"})
    params = {"data.label_names": {str(number): "x" * 100 for number in range(100)}, "data.text_column": "\udcff"}
    metrics = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "loss": 0.1}
    journal.log_event("params", params=stringify(params))
    journal.log_metrics(metrics)
    send(journal)
    run = read_stored_run(journal)
    assert run.info.run_name == "?"
    assert len(run.data.params["data.label_names"]) < 6000
    assert stringify(run.data.params)["data.label_names"] == stringify(params)["data.label_names"]
    assert all(is_stored_as(value, run.data.metrics[name]) for name, value in metrics.items())
    assert not is_stored_as(0.1, run.data.metrics["nan"])
    assert not is_stored_as(float("inf"), run.data.metrics["-inf"])


def test_long_params_that_differ_at_their_end_are_different():
    one, other = (stringify({"a": "x" * 7000 + end})["a"] for end in "ab")
    assert one != other
    assert len(one) <= 6000
