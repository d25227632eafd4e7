"""Runs the trials of a study with a progress bar, which has the best score so far, and logs those that are finished."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from stages.core.sweep_space import Dimension
from stages.studies.study import RESULT, Study, TrainTrial

# Called for each finished trial, again and again, with its number, its params, and the result of its training.
LogTrial = Callable[[int, dict[str, Any], dict[str, Any]], None]


def run_search(
    study: Study, train: TrainTrial, space: dict[str, Dimension], total: int, minutes: float, metric: str, log: LogTrial
) -> None:
    """Run trials until `total` are finished; begin none after so many minutes."""
    deadline = time.monotonic() + 60 * minutes
    with show_progress(study, total, "trials", metric, log) as report:
        study.search(train, space, total, deadline, report)


def run_plan(
    study: Study,
    train: TrainTrial,
    space: dict[str, Dimension],
    plan: list[dict[str, Any]],
    unit: str,
    metric: str,
    log: LogTrial,
) -> None:
    """Run a trial with each of the params of a plan."""
    with show_progress(study, len(plan), unit, metric, log) as report:
        study.run_plan(train, space, plan, report)


@contextmanager
def show_progress(study: Study, total: int, unit: str, metric: str, log: LogTrial) -> Iterator[Callable[[], None]]:
    """Show a bar for the block, which has a function that brings it up to date, and logs."""
    with tqdm(total=total, unit=f" {unit}", desc=study.name, initial=min(len(study.finished), total)) as bar:

        def report() -> None:
            best = study.best
            if best is not None and best.value is not None:
                bar.set_postfix_str(f"best {metric} {best.value:.4f} in trial {best.number}", refresh=False)
            bar.update(min(len(study.finished), total) - bar.n)
            for trial in study.finished:
                log(trial.number, trial.params, trial.user_attrs[RESULT])

        report()
        yield report
        report()
