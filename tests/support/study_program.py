"""Runs a study of a function in place of trainings: `python -m support.study_program NAME STORAGE TOTAL [SECONDS]`."""

import sys
import time

from stages.core.sweep_space import Dimension
from stages.studies.study import Outcome, Study

SPACE = {"x": Dimension(-1.0, 1.0), "n": Dimension(1, 3), "kind": Dimension(choices=("flat", "steep"))}


def train(params, should_stop, seconds=0.0):
    """Validates twice; the score is best where x is 0.5."""
    score = -abs(params["x"] - 0.5) * (2 if params["kind"] == "steep" else 1)
    if should_stop(1, score - 0.01):
        return Outcome(None, {"score": score})
    time.sleep(seconds)
    return Outcome(score, {"score": score})


if __name__ == "__main__":
    name, storage, total, seconds = [*sys.argv[1:], "0"][:4]
    study = Study(name, storage, lower_is_better=False, seed=1)
    with study.claim() as is_owner:
        print("owner" if is_owner else "joined", flush=True)
        study.search(
            lambda params, should_stop: train(params, should_stop, float(seconds)),
            SPACE, int(total), float("inf"), lambda: print(len(study.finished), flush=True),
        )  # fmt: skip
