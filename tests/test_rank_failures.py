"""Whatever ends one of several ranks ends all of them in time, and one of them says why."""

import os
import re
import signal
import subprocess
import time

import pytest
from support.launcher import (
    TORCHRUN,
    count_errors,
    find_free_port,
    finish,
    make_environment,
    make_rank,
    start,
    start_ranks,
)
from support.project import ROOT
from support.warm_python import PYTHON

PATHS = f"{ROOT}{os.pathsep}{ROOT}/tests"


@pytest.mark.parametrize(
    ("how", "codes", "message"),
    [
        ("memory", (1, 1), r"rank 1 on \S+: not enough memory"),
        ("user", (1, 1), r"rank 1 on \S+: params.yaml: what rank 1 found\."),
        ("killed", (1, -9), r"rank 1 on \S+ \(process \d+\) ended without a message"),
        ("defect", (1, 1), "ZeroDivisionError: a defect"),
    ],
)
def test_the_failure_of_a_rank_ends_all_with_one_message(workspace, how, codes, message):
    outputs = run_program(workspace, how, codes)
    assert re.search(message, "".join(outputs))
    assert sum(map(count_errors, outputs)) == (how != "defect")
    assert "".join(outputs).count("Traceback") == (how == "defect")
    assert outputs[1].count("together") == 0  # rank 0 says what is done


def test_an_error_that_all_may_handle_is_one_of_all(workspace):
    outputs = run_program(workspace, "disk", (1, 1))
    assert sum(map(count_errors, outputs)) == 1
    assert "features: cannot be read or written (No space left on device)" in "".join(outputs)


def test_a_rank_of_another_host_that_is_gone_is_missed(workspace):
    """Rank 1 has process numbers of its own, so that rank 0 cannot see whether it lives."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a process other process numbers")
    started = time.monotonic()
    output, _ = run_program(workspace, "killed", (1, 137), prefix=OTHER_NUMBERS)
    assert re.search(r"rank 1 on \S+ \(process \d+\) ended without a message", output)
    assert time.monotonic() - started < 60


# The program is not process 1 itself, which cannot be killed from inside.
OTHER_NUMBERS = ["unshare", "--pid", "--fork", "sh", "-c", '"$@"; exit $?', "sh"]


def run_program(folder, how, codes, prefix=()):
    command = ("-m", "support.rank_program", how)
    processes = start_ranks([folder, folder], prefix, command, PYTHONPATH=PATHS)
    return [finish(process, code) for process, code in zip(processes, codes, strict=True)]


def test_a_rank_that_waits_for_the_first_one_can_be_stopped(workspace):
    """As when the launcher is killed at the start: torch itself would try for minutes, and notice no signal."""
    rank = make_rank(1, 2, str(find_free_port()))
    process = start([PYTHON, "-m", "support.rank_program", "user"], workspace, **rank, PYTHONPATH=PATHS)
    time.sleep(8)  # imports torch, and tries to connect
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode in (143, -signal.SIGTERM)  # the second, where the imports take longer


def test_other_stages_refuse_a_launcher(workspace):
    output = subprocess.run(
        [*TORCHRUN, "2", "-m", "stages.evaluate"], cwd=workspace, env=make_environment(PYTHONPATH=str(ROOT)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "error in stage evaluate: it runs in one process" in output.stderr
