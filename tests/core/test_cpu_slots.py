import os
import subprocess
import sys
import threading
import time

import pytest

from stages.core import cpu_slots
from stages.core.cpu_slots import reserve_cores


@pytest.fixture
def compute(workspace, monkeypatch):
    """Run several at once on four cores; return how many computed at the same time, at most."""
    monkeypatch.setattr(cpu_slots, "count_cores", lambda: 4)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    def run(threads_each):
        monkeypatch.setattr("torch.get_num_threads", lambda: threads_each)
        now, most, lock = 0, 0, threading.Lock()

        def one():
            nonlocal now, most
            with reserve_cores():
                with lock:
                    now += 1
                    most = max(most, now)
                time.sleep(0.5)
                with lock:
                    now -= 1

        workers = [threading.Thread(target=one) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return most

    return run


@pytest.mark.parametrize(("threads", "at_once"), [(4, 1), (2, 2), (1, 4), (9, 1)])
def test_as_many_processes_compute_at_once_as_there_are_cores_for(compute, threads, at_once):
    assert compute(threads) == at_once


def test_a_process_that_waits_prints_why(compute, capsys):
    compute(4)
    assert "waiting for CPU cores: another experiment uses them" in capsys.readouterr().out


def test_the_cores_of_another_machine_that_shares_the_checkout_are_others(compute, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    with reserve_cores():
        monkeypatch.setattr("socket.gethostname", lambda: "other")
        with reserve_cores():
            pass  # would wait forever


def test_with_a_gpu_there_is_no_waiting(workspace, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with reserve_cores(), reserve_cores():
        pass


@pytest.mark.parametrize(("variables", "spins"), [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_threads_that_wait_soon_leave_their_core_to_others_unless_the_user_wants_something_else(variables, spins):
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    done = subprocess.run(
        [sys.executable, "-c", "import stages.core.cpu_slots"],
        env=environment | variables | {"OMP_DISPLAY_ENV": "verbose"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
