"""Run by tests on several ranks: `python -m support.rank_program HOW`; rank 1 fails so, and the others wait for it."""

import os
import signal
import sys

import torch

from stages.core import ranks
from stages.core.errors import UserError
from stages.core.stage import run_stage


def main() -> None:
    with ranks.join():
        ranks.take_processors()
        assert ranks.gather(ranks.get_rank()) == list(range(ranks.count_ranks()))
        print("together", flush=True)
        with ranks.failing_together():  # where the others wait
            if ranks.get_rank() == 1:
                fail(sys.argv[1])


def fail(how: str) -> None:
    if how == "memory":
        torch.empty(2**50)
    elif how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "user":
        raise UserError("params.yaml: what rank 1 found.")
    elif how == "disk":
        raise OSError(28, "No space left on device", "features")
    elif how == "defect":
        raise ZeroDivisionError("a defect")


if __name__ == "__main__":
    run_stage("train", main)
