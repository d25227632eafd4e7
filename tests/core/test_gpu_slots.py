import os

import pytest
from filelock import FileLock

from stages.core import gpu_slots
from stages.core.errors import UserError
from stages.core.files import cache_dir
from stages.core.gpu_slots import return_gpu, take_gpu, take_gpus
from stages.core.hardware import name_machine


@pytest.fixture(autouse=True)
def machine(workspace, monkeypatch):
    """A new process on a machine with two GPUs."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(gpu_slots, "taken", [])


def take_in_another_process(gpu):
    folder = cache_dir() / "gpus" / name_machine()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{gpu}.lock")
    lock.acquire()
    return lock


def test_a_process_sees_one_gpu_alone():
    take_gpu()
    take_gpu()  # of the same process
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_the_next_process_takes_the_next_gpu():
    lock = take_in_another_process("0")
    take_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    lock.release()


def test_only_visible_gpus_are_taken(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5")
    lock = take_in_another_process("3")
    take_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-5"
    lock.release()


def test_a_process_waits_for_a_gpu(monkeypatch, capsys):
    locks = [take_in_another_process(gpu) for gpu in "01"]
    monkeypatch.setattr("time.sleep", lambda seconds: locks[1].release())
    take_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert "waiting for a GPU" in capsys.readouterr().out
    locks[0].release()


def test_without_a_gpu_nothing_is_taken(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    take_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_gpu_that_was_returned_is_for_an_experiment_that_the_process_starts():
    take_gpu()
    return_gpu()
    take_in_another_process("0").release()  # would wait forever
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_one_process_takes_the_gpus_of_several():
    assert take_gpus(2) == ["0", "1"]


def test_more_processes_than_gpus_are_an_error():
    with pytest.raises(UserError, match="3 processes were started on this host, and 2 GPUs are"):
        take_gpus(3)


def test_the_gpus_of_another_machine_that_shares_the_checkout_are_others(monkeypatch):
    take_in_another_process("0")
    monkeypatch.setattr("socket.gethostname", lambda: "other")
    take_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_two_jobs_of_slurm_may_both_see_their_gpu_as_number_0(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    take_in_another_process("0")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    take_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
