"""`train` is killed at any moment under DVC; the next `dvc repro` resumes and ends with the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import psutil
import pytest
import yaml

from stages import train
from stages.core.cache import MANIFEST
from stages.tracking.journal_folder import list_journals
from stages.training import inputs
from stages.training.checkpoints import get_step
from stages.training.trainer import ClassifierTrainer

OUTPUTS = (
    "models/classifier",
    "plots/training.csv",
    "plots/validation.csv",
    "metrics/train.json",
    "metrics/evaluate.json",
)


@pytest.fixture(scope="module")
def checkout(finished, tmp_path_factory):
    """A checkout after a run that was not interrupted."""
    checkout = finished.copy(tmp_path_factory.mktemp("interruptions") / "checkout")
    params = (checkout.folder / "params.yaml").read_text()
    params = params.replace("num_train_epochs: 2", "num_train_epochs: 10").replace(
        "log_model: true", "log_model: false"
    )
    (checkout.folder / "params.yaml").write_text(params)
    checkout.run("dvc", "repro", "-q")
    checkout.expected = read_hashes(checkout), read_losses(checkout)
    yield checkout
    mlflow.set_tracking_uri(None)


def read_lock(checkout):
    return yaml.safe_load((checkout.folder / "dvc.lock").read_text())


def read_hashes(checkout):
    outs = [out for name in ("train", "evaluate") for out in read_lock(checkout)["stages"][name]["outs"]]
    return {out["path"]: out["md5"] for out in outs if out["path"] in OUTPUTS}


def read_losses(checkout):
    """The training curve of the last run."""
    run = checkout.runs()[-1]
    points = mlflow.MlflowClient().get_metric_history(run.info.run_id, "train/loss")
    return [(point.step, point.value) for point in points]


def forget_training(checkout):
    """Remove the training and its evaluation from what DVC has recorded."""
    known = read_lock(checkout)
    known["stages"] = {name: stage for name, stage in known["stages"].items() if name not in ("train", "evaluate")}
    (checkout.folder / "dvc.lock").write_text(yaml.safe_dump(known))


def list_checkpoints(checkout):
    return list((checkout.folder / ".cache/checkpoints").glob("*/checkpoint-*"))


def start_repro(checkout):
    hidden = ("DVC_", "MLFLOW_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    environment |= {"CHECKPOINT_SECONDS": "0", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.Popen(
        ["dvc", "repro", "--no-run-cache"], cwd=checkout.folder, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def wait_for(condition):
    for _ in range(60_000):
        if found := condition():
            return found
        time.sleep(0.001)
    raise AssertionError("nothing happened within a minute")


def is_complete(checkpoint):
    return (checkpoint / MANIFEST).exists()


def find_last_complete(checkout):
    return max((get_step(path) for path in list_checkpoints(checkout) if is_complete(path)), default=0)


def has_new_complete(checkout, last):
    return find_last_complete(checkout) > last + 1


def has_new_incomplete(checkout, last):
    return [path for path in list_checkpoints(checkout) if not is_complete(path) and get_step(path) > last + 1]


def test_repro_resumes_after_each_interruption_and_ends_with_the_same_bytes(checkout):
    forget_training(checkout)
    before = len(checkout.runs())
    for moment, number, victim in (
        (has_new_complete, signal.SIGKILL, "train"), (has_new_incomplete, signal.SIGKILL, "train"),
        (has_new_complete, signal.SIGTERM, "train"), (has_new_complete, signal.SIGKILL, "dvc"),
    ):  # fmt: skip
        last = find_last_complete(checkout)
        dvc = start_repro(checkout)
        wait_for(lambda moment=moment, last=last: moment(checkout, last))
        processes = psutil.Process(dvc.pid).children(True)
        (train,) = [one for one in processes if one.cmdline()[1:] == ["-m", "stages.train"]]
        senders = train.children()
        (train if victim == "train" else dvc).send_signal(number)
        psutil.wait_procs([train], timeout=60)
        assert not train.is_running()  # also when DVC is killed, which does not end it
        output = dvc.communicate()[0]
        assert dvc.returncode != 0
        assert "Traceback" not in output
        assert ("resuming after step" in output) == (last > 0)
        psutil.wait_procs(senders, timeout=60)
        assert checkout.runs()[-1].info.status == "KILLED"
    assert "resuming after step" in checkout.run("dvc", "repro", "--no-run-cache")
    assert (read_hashes(checkout), read_losses(checkout)) == checkout.expected
    assert list_checkpoints(checkout) == []
    runs = checkout.runs()
    assert (len(runs), runs[-1].info.status) == (before + 1, "FINISHED")


def list_curve_points(journal):
    points = [(name, event["step"]) for event in journal.find_events("metrics") for name in event["metrics"]]
    return {(name, step) for name, step in points if "/epoch" not in name and name.startswith(("train", "validation"))}


def test_a_training_that_dvc_did_not_record_is_not_repeated(tokenized, write_params, monkeypatch):
    write_params({"train.freeze_layers": 1})

    def refuse(*arguments):
        raise AssertionError("trained again")

    weights = tokenized / "models/classifier/model.safetensors"
    train.main()
    before = weights.read_bytes()
    weights.unlink()
    monkeypatch.setattr(ClassifierTrainer, "training_step", refuse)
    write_params({"train.freeze_layers": 1, "evaluate.num_mistakes": 1})
    train.main()
    assert weights.read_bytes() == before
    first, second = (list_curve_points(journal) for journal in list_journals())  # which has other params
    assert first == second != set()


def test_an_error_of_the_training_is_not_called_a_full_disk(tokenized, write_params, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("mat1 and mat2 must have the same dtype")

    write_params({"train.freeze_layers": 0})
    monkeypatch.setattr(ClassifierTrainer, "training_step", fail)
    with pytest.raises(RuntimeError, match="mat1 and mat2") as caught:
        train.main()
    assert not getattr(caught.value, "__notes__", [])


def test_a_training_on_cached_features_is_not_resumed_without_them(tokenized, write_params, monkeypatch, capsys):
    write_params({"train.freeze_layers": 1})
    train.main()
    train.main()
    assert "resuming after step" in capsys.readouterr().out
    monkeypatch.setattr(inputs, "count_feature_bytes", lambda *_: 10**12)
    train.main()
    assert "resuming after step" not in capsys.readouterr().out


def test_changed_params_never_resume_a_stale_checkpoint(tokenized, write_params, capsys):
    write_params({"train.freeze_layers": 1})
    train.main()
    write_params({"train.freeze_layers": 1, "train.weight_decay": 0.02})
    train.main()
    assert "resuming after step" not in capsys.readouterr().out
