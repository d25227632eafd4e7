import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import mlflow
import psutil
import pytest
from support.project import ROOT
from support.warm_python import find_python
from transformers import TrainerState

from stages.core.errors import UserError
from stages.core.files import sha256
from stages.core.param_sections import Tracking
from stages.tracking import run as tracking
from stages.tracking.callbacks import RunLogger
from stages.tracking.journal import journals_folder
from stages.tracking.journal_folder import list_journals, open_journal
from stages.tracking.mlflow_store import connect, find_experiment
from stages.tracking.provenance import make_run_tags
from stages.tracking.run import confirm_finished, log_datasets, log_results, log_weights, open_run, resume_run
from stages.tracking.unconfirmed import MARK, return_killed

TRACKING = Tracking(experiment="test", log_model=False, system_metrics=False, tensorboard=False)
STATISTICS = {"raw_sha256": "a" * 64, "tokenized_sha256": "b" * 64}


@pytest.fixture(autouse=True)
def without_sender(workspace, monkeypatch):
    """Nothing is sent."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    sender = SimpleNamespace(stdin=io.BytesIO(), poll=lambda: 0)
    monkeypatch.setattr(tracking, "start_sender", lambda run, system_metrics: sender)


def evaluate(key, params=None):
    return resume_run(TRACKING, key, params or {}, {}, history=())


def points(run):
    return {name: value for event in run.find_events("metrics") for name, value in event["metrics"].items()}


def test_a_run_is_open_until_evaluate_completes_it(workspace):
    with open_run(TRACKING, {"seed": 1}, {"git.commit": "abc"}, {"data": "x"}) as run:
        run.log_metrics({"validation/accuracy": 0.5})
    assert run.status == "PAUSED"
    with evaluate(run.key, {"seed": 1}) as same:
        log_results(same, {"accuracy": 0.9}, {"train_seconds": 3.0}, [workspace / "none"])
    assert same.key == run.key
    assert run.status == "FINISHED"
    assert points(run) == {"validation/accuracy": 0.5, "test/accuracy": 0.9, "time/train_seconds": 3.0}
    assert run.find_events("params")[0]["params"] == {"seed": "1"}
    assert run.start_event["tags"]["git.commit"] == "abc"


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError("boom"), "FAILED"), (UserError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_the_status_shows_how_a_run_ended(error, status):
    with pytest.raises(type(error)), open_run(TRACKING, {}, {}, {}) as run:
        raise error
    assert run.status == status
    with pytest.raises(type(error)), evaluate(run.key):
        raise error
    assert run.status == status


def test_an_interrupted_run_is_resumed_and_takes_the_new_name(monkeypatch):
    with pytest.raises(KeyboardInterrupt), open_run(TRACKING, {"seed": 1}, {}, {"data": "x"}) as first:
        raise KeyboardInterrupt
    monkeypatch.setenv("DVC_EXP_NAME", "second-try")
    with open_run(TRACKING, {"seed": 1}, {"git.commit": "abc"}, {"data": "x"}) as again:
        pass
    assert again.key == first.key
    assert again.find_events("name")[0] | {"time": 0} == {
        "kind": "name", "time": 0, "name": "second-try", "tags": {"git.commit": "abc"}
    }  # fmt: skip
    with open_run(TRACKING, {"seed": 2}, {}, {"data": "x"}) as other:
        pass
    assert other.key != first.key


def test_params_that_training_does_not_read_make_another_run():
    inputs = {"params": {"seed": 1}, "files": "x"}
    with pytest.raises(KeyboardInterrupt), open_run(TRACKING, {"evaluate.num_mistakes": 1}, {}, inputs) as first:
        raise KeyboardInterrupt
    with open_run(TRACKING, {"evaluate.num_mistakes": 2}, {}, inputs) as second:
        pass
    assert second.key != first.key
    empty = (Path("/dev/null"), Path("/dev/null"))
    with resume_run(TRACKING, second.key, {"evaluate.num_mistakes": 3}, {}, empty) as third:
        pass
    assert third.start_event["tags"]["train.run"] == second.key
    assert [run.status for run in (first, second, third)] == ["KILLED", "PAUSED", "FINISHED"]


def test_an_experiment_that_evaluates_a_run_gives_it_its_own_name(monkeypatch):
    with open_run(TRACKING, {}, {}, {}) as run:
        pass
    monkeypatch.setenv("DVC_EXP_NAME", "second-try")
    with resume_run(TRACKING, run.key, {}, {"dvc.exp_name": "second-try"}, history=()):
        pass
    assert run.name == "second-try"
    assert [event["tags"] for event in run.find_events("name")] == [{"dvc.exp_name": "second-try"}]


def test_a_run_is_finished_when_the_user_does_not_wait_for_mlflow(monkeypatch):
    def interrupted(sender, run):
        raise KeyboardInterrupt

    with open_run(TRACKING, {}, {}, {}) as run:
        pass
    monkeypatch.setattr(tracking, "wait_for_sender", interrupted)
    with evaluate(run.key):
        pass
    assert run.status == "FINISHED"


def test_evaluating_a_run_of_another_machine_makes_a_run_with_its_curves(workspace):
    (workspace / "training.csv").write_text("step,loss\n10,0.7\n20,0.6\n")
    (workspace / "validation.csv").write_text("step,accuracy\n20,0.8\n")
    history = (workspace / "training.csv", workspace / "validation.csv")
    with resume_run(TRACKING, "0" * 32, {"seed": 3}, {"git.commit": "abc"}, history) as run:
        run.log_metrics({"test/accuracy": 0.9})
    assert run.status == "FINISHED"
    assert run.start_event["tags"] == {"git.commit": "abc", "train.run": "0" * 32}
    curve = [(event["step"], event["metrics"]) for event in run.find_events("metrics")]
    assert curve == [
        (10, {"train/loss": 0.7}), (20, {"train/loss": 0.6}), (20, {"validation/accuracy": 0.8}),
        (0, {"test/accuracy": 0.9}),
    ]  # fmt: skip


def test_another_evaluation_of_a_finished_run_is_a_run_of_its_own():
    with open_run(TRACKING, {}, {}, {}) as first:
        pass
    with resume_run(TRACKING, first.key, {}, {}, history=()):
        pass
    empty = (Path("/dev/null"), Path("/dev/null"))
    with pytest.raises(RuntimeError, match="boom"), resume_run(TRACKING, first.key, {}, {}, empty) as second:
        raise RuntimeError("boom")
    assert (first.status, second.status) == ("FINISHED", "FAILED")
    assert second.start_event["tags"]["train.run"] == first.key
    with resume_run(TRACKING, first.key, {}, {}, empty) as third:
        pass
    assert third.key == second.key


def test_the_run_is_named_after_the_dvc_experiment(monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "huge-idea")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "c" * 40)
    tags = make_run_tags(STATISTICS, {})
    with open_run(TRACKING, {}, tags, {}) as run:
        pass
    assert run.start_event["name"] == "huge-idea"
    assert tags["dvc.exp_name"] == "huge-idea"
    assert tags["dvc.exp_baseline_rev"] == tags["git.commit"] == "c" * 40
    assert tags["data.raw_sha256"] == "a" * 64


def test_an_environment_variable_chooses_another_store(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with open_run(TRACKING, {}, {}, {}) as run:
        pass
    assert run.start_event["uri"] == "http://127.0.0.1:1"


def test_events_that_could_not_be_sent_give_one_warning(capsys):
    with open_run(TRACKING, {}, {}, {}) as run:
        run.set_state(error="connection refused")
    warning = capsys.readouterr().err
    assert warning.count("warning") == 1
    assert f"(connection refused). They wait in mlruns/journal/{run.key}" in warning


def test_logs_of_trainer_are_grouped_by_step():
    with open_run(TRACKING, {}, {}, {}) as run:
        for step, logs in ((10, {"loss": 0.7, "learning_rate": 1e-4}), (20, {"eval_accuracy": 0.8, "eval_runtime": 3})):
            RunLogger(run).on_log(None, TrainerState(global_step=step), None, logs)
    logged = [(event["step"], event["metrics"]) for event in run.find_events("metrics")]
    assert logged == [(10, {"train/loss": 0.7, "train/learning_rate": 1e-4}), (20, {"validation/accuracy": 0.8})]


def test_the_hash_of_the_weights_is_that_of_their_file_or_of_all_files(workspace):
    (workspace / "2_Dense").mkdir()
    with open_run(TRACKING, {}, {}, {}) as run:
        log_weights(run, workspace, {"total_parameters": 3, "validation_loss": 1})
        assert not run.find_events("tags")
        (workspace / "model.safetensors").write_bytes(b"encoder")
        log_weights(run, workspace, {})
        for head in (b"head", b"other head"):
            (workspace / "2_Dense/model.safetensors").write_bytes(head)
            log_weights(run, workspace, {})
    hashes = [event["tags"]["model.sha256"] for event in run.find_events("tags")]
    assert hashes[0] == sha256(workspace / "model.safetensors")
    assert len(set(hashes)) == 3
    assert points(run) == {"train/total_parameters": 3}


def test_data_sets_are_logged_with_their_digests_and_numbers_of_dropped_rows_and_leaks():
    dropped = {"train": {"empty text": 2, "missing column 'x'": 1}, "test": {"empty text": 1}}
    with open_run(TRACKING, {}, {}, {}) as run:
        splits, leaks = {"train": {"raw_sha256": "d" * 64, "rows": 9}}, {"train_and_test": 5}
        log_datasets(run, {"splits": splits, "dropped": dropped, "leaks": leaks, "columns": ["text", "label"]})
    logged = run.find_events("datasets")[0]
    assert (logged["digests"], logged["rows"]) == ({"train": "d" * 64}, {"train": 9})
    counts = {"data/dropped_rows": 4, "data/dropped/empty text": 3, "data/dropped/missing column x": 1}
    assert points(open_journal(run.key)) == counts | {"data/leaks/train_and_test": 5}


def run_process(code, workspace, sender=sys.executable, **variables):
    """Run code in a process that kills itself, with a real sender; return the sender and the key of the run."""
    head = (
        f"import os, signal, sys; sys.executable = {str(sender)!r}; from pathlib import Path;"
        "from stages.core.param_sections import Tracking;"
        "from stages.tracking.run import *;"
        "tracking = Tracking(experiment='test', log_model=False, system_metrics=False, tensorboard=False);"
        "kill = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"} | variables
    process = subprocess.Popen(
        [sys.executable, "-c", head + code], env=environment, cwd=workspace, stdout=subprocess.PIPE, text=True
    )
    key = process.stdout.readline().strip()
    senders = [one for one in psutil.process_iter(["cmdline"]) if key in (one.info["cmdline"] or [])]
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    return senders, key


@pytest.mark.parametrize("store", ["", "http://127.0.0.1:9"])
def test_no_sender_is_left_after_a_stage_was_killed(workspace, store):
    """Not even when a process that the stage started, such as a worker that loads data, still runs."""
    code = (
        "with open_run(tracking, {}, {}, {}) as run:\n"
        "    run.log_metrics({'train/loss': 0.5}, 1)\n"
        "    print(run.key, flush=True)\n"
        "    import time; worker = os.fork()\n"
        "    if worker == 0: os.close(1); time.sleep(60); os._exit(0)\n"
        "    open('worker', 'w').write(str(worker)); time.sleep(1); kill()"
    )
    senders, key = run_process(code, workspace, MLFLOW_TRACKING_URI=store)
    assert len(senders) == 1
    alive = psutil.wait_procs(senders, timeout=40)[1]
    os.kill(int((workspace / "worker").read_text()), signal.SIGKILL)
    assert alive == []
    assert (workspace / "mlruns/sender.log").exists()
    assert bool(open_journal(key).count_unsent()) == bool(store)


FINISH = (
    "with resume_run(tracking, '{key}', {{}}, {{}}, history=()) as run:\n"
    "    log_results(run, {{'accuracy': 0.9}}, {{}}, [])\n"
    "print(run.key, flush=True); "
)


def test_a_stage_that_is_killed_after_it_has_finished_its_run_continues_it(workspace):
    with open_run(TRACKING, {}, {}, {}) as run:
        pass
    code = FINISH.format(key=run.key)
    for _ in range(2):
        assert run_process(code + "kill()", workspace, find_python())[1] == run.key
    assert list_journals() == []  # all is sent
    key = run_process(code + "confirm_finished(); kill()", workspace, find_python())[1]
    assert key == run.key
    client = connect(None)
    (stored,) = client.search_runs([find_experiment(client, "test")])
    mlflow.set_tracking_uri(None)
    assert (stored.info.status, stored.data.metrics) == ("FINISHED", {"test/accuracy": 0.9})
    assert list((workspace / "mlruns/unconfirmed").iterdir()) == []


def test_a_second_evaluation_that_is_killed_after_it_has_finished_its_run_continues_it(workspace):
    with open_run(TRACKING, {}, {}, {}) as run:
        pass
    with evaluate(run.key):
        pass
    confirm_finished()
    assert list((workspace / "mlruns").glob(f"*/*/{MARK}")) == []
    (workspace / "empty").touch()
    code = FINISH.format(key=run.key).replace("()", "(Path('empty'), Path('empty'))") + "kill()"
    first, second = (run_process(code, workspace, find_python())[1] for _ in range(2))
    assert first == second != run.key


def test_a_stage_on_another_machine_that_shares_the_checkout_counts_as_alive(workspace, monkeypatch):
    with open_run(TRACKING, {}, {}, {}) as run:
        pass
    assert run_process(FINISH.format(key=run.key) + "kill()", workspace, find_python())[1] == run.key
    with monkeypatch.context() as other:
        other.setattr("socket.gethostname", lambda: "other")
        return_killed(journals_folder())
        assert list_journals() == []
    return_killed(journals_folder())
    assert [journal.key for journal in list_journals()] == [run.key]


def test_a_finished_run_whose_stage_is_not_repeated_is_kept_for_a_month(workspace):
    with open_run(TRACKING, {}, {}, {}) as run:
        pass
    with evaluate(run.key):
        pass
    with run.lock_for_sending():
        run.set_state(sent=run.events.stat().st_size)
    kept = workspace / "mlruns/unconfirmed" / run.key
    return_killed(journals_folder())
    assert kept.exists()
    os.utime(kept / MARK, (0, time.time() - 31 * 86400))
    return_killed(journals_folder())
    assert not kept.exists()
