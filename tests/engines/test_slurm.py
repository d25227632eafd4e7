"""`examples/slurm_array.sh` on a real Slurm of one machine."""

import mlflow
import pytest
from support.slurm import run_slurm

SCRIPT = "examples/slurm_array.sh"
SHORT = "train.freeze_layers=1 tracking.log_model=false"


@pytest.fixture(scope="module")
def slurm():
    with run_slurm() as config:
        yield {"SLURM_CONF": config}


@pytest.fixture
def checkout(finished, tmp_path):
    checkout = finished.copy(tmp_path / "checkout")
    (checkout.folder / "mlruns/mlflow.db").unlink()
    activate = checkout.folder / ".venv/bin/activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    return checkout


def test_each_job_of_an_array_runs_its_experiment(checkout, slurm):
    settings = [f"train.learning_rate={rate} {SHORT}" for rate in ("2e-3", "3e-3", "4e-3")]
    checkout.run("sbatch", "--wait", "--array=0-2", SCRIPT, *settings, **slurm)
    runs = checkout.runs()
    mlflow.set_tracking_uri(None)
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    names = checkout.run("dvc", "exp", "list", "--name-only").split()
    assert sorted(run.info.run_name for run in runs) == sorted(names)
    assert sorted(run.data.params["train.learning_rate"] for run in runs) == ["0.002", "0.003", "0.004"]


def test_a_job_without_an_experiment_fails(checkout, slurm):
    checkout.run("sbatch", "--wait", "--array=1", SCRIPT, SHORT, fails=True, **slurm)
    (log,) = (checkout.folder / "mlruns").glob("slurm-*_1.log")
    assert log.read_text() == "there is no experiment 1: 1 were given, and the first is number 0\n"
