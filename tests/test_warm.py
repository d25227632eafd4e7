"""Commands that are handed over to `python -m stages.warm`: they are as those that run by themselves."""

import os
import signal
import subprocess
import time

import psutil
import pytest
from support.project import ROOT
from support.warm_python import PYTHON

from stages.core.csv_tables import ROWS_AT_ONCE

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux has it")


@pytest.fixture(scope="module")
def checkout(finished, tmp_path_factory):
    return finished.copy(tmp_path_factory.mktemp("warm") / "checkout")


@pytest.fixture(scope="module")
def server(checkout):
    """The process; its socket and its output are in the checkout."""
    with (checkout.folder / "warm.log").open("w") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", "stages.warm"], cwd=checkout.folder, env=make_environment(checkout), stdout=log, stderr=log
        )
    for _ in range(600):
        if "start at once" in (checkout.folder / "warm.log").read_text():
            break
        time.sleep(0.1)
    yield process
    process.terminate()  # SIGINT is ignored where the tests run in the background of a shell
    assert process.wait(60) == 143
    assert "Traceback" not in (checkout.folder / "warm.log").read_text()
    assert not (checkout.folder / "warm.sock").exists()


FORK = """
import os, signal
from stages import warm
from stages.core.stage import raise_terminated
signal.signal(signal.SIGTERM, raise_terminated)
os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGTERM))
warm.fork() or os._exit(0)
"""


def test_a_signal_that_comes_while_it_forks_is_not_lost():
    done = subprocess.run([PYTHON, "-c", FORK], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Exception ignored" not in done.stderr
    assert done.stderr.rstrip().endswith("stages.core.errors.Terminated")


def make_environment(checkout, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_"))}
    return kept | {"STAGES_WARM": str(checkout.folder / "warm.sock")} | variables


def start(checkout, *command, **variables):
    return subprocess.Popen(
        [PYTHON, "-m", *command], cwd=checkout.folder, env=make_environment(checkout, **variables),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def find_forks(server):
    return {process.pid for process in psutil.Process(server.pid).children(recursive=True)}


def start_in_fork(checkout, server, *command):
    """Start a command; return it when it is handed over, with the forks that it has."""
    before = find_forks(server)
    process = start(checkout, *command)
    wait_for(lambda: len(find_forks(server) - before) > 1)
    return process, find_forks(server) - before


def test_output_input_and_exit_code_are_those_of_the_command(checkout, server):
    process = start(checkout, "stages.predict", "--csv", "missing.csv")
    out, error = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert "error in predict: missing.csv: cannot be read" in error
    process = start(checkout, "stages.predict")
    out, _ = process.communicate("I loved it.\nSo dull.\n")
    assert process.returncode == 0
    assert len(out.splitlines()) == 2


def test_a_training_has_the_same_bytes(checkout, server):
    classifier = checkout.folder / "models/classifier/model.safetensors"
    expected = classifier.read_bytes()
    classifier.unlink()
    process, _ = start_in_fork(checkout, server, "stages.train")
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert classifier.read_bytes() == expected


def test_the_code_of_the_project_is_read_anew(checkout, server):
    path = checkout.folder / "stages/preview.py"
    original = path.read_text()
    path.write_text(original.replace("row, label", "row, label").replace("'row':>9", "'ROW':>9"))
    out, _ = start(checkout, "stages.preview", "--rows", "1").communicate()
    path.write_text(original)
    assert "ROW" in out


def test_a_command_that_would_start_otherwise_runs_by_itself(checkout, server):
    process = start(checkout, "stages.preview", "--rows", "1", OMP_NUM_THREADS="7")
    assert "decoded from its tokens" in process.communicate()[0]
    assert "stages.preview runs by itself: OMP_NUM_THREADS differ" in (checkout.folder / "warm.log").read_text()


def test_a_signal_reaches_the_command(checkout, server):
    process, _ = start_in_fork(checkout, server, "stages.predict")
    process.stdin.write("I loved it.\n" * ROWS_AT_ONCE)
    process.stdin.flush()
    process.stdout.readline()  # it has answered these lines, and waits for more
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143  # before its input is closed, which would end it too
    assert "predict was interrupted" in process.communicate()[1]


def test_a_command_ends_with_the_process_that_was_started(checkout, server):
    process, forks = start_in_fork(checkout, server, "stages.predict")
    process.kill()
    process.communicate()
    wait_for(lambda: not forks & find_forks(server))


def wait_for(condition):
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come true")


def test_a_second_one_is_refused(checkout, server):
    process = start(checkout, "stages.warm")
    assert "is used by another `python -m stages.warm`" in process.communicate()[1]
    assert process.returncode == 1
