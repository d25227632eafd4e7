"""The MLflow run of a study: a parent with a nested run for each of its trainings, which have no model and no files.

All is in the parent's journal: a training is one event, logged when it is finished, so that an outage loses nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.core.param_sections import Tracking
from stages.tracking.journal import Journal
from stages.tracking.run import NO_CURVE, find_or_create_run, record_stage, stringify

KIND_TAG, STUDY_TAG = "study.kind", "study.name"
STATE_TAG = "study.trial"  # of a nested run: complete, or stopped where it was so bad that it ended early


@contextmanager
def open_study_run(
    is_owner: bool, tracking: Tracking, kind: str, name: str, params: dict[str, Any], tags: dict[str, str]
) -> "Iterator[TrialLogger | None]":
    """Open the run of a study: that of an earlier process which was interrupted, or a new one.

    When the block ends without an error it is FINISHED. None for a process that only joins the study.
    """
    if not is_owner:
        print(f"joining {name}; the process that began it reports the results")
        yield None
        return
    tags = tags | {KIND_TAG: kind, STUDY_TAG: name}
    run = find_or_create_run(tracking, params, tags, {STUDY_TAG: name}, name)
    with record_stage(run, tracking, "FINISHED"):
        yield TrialLogger(run, kind)


class TrialLogger:
    """Logs each finished training of a study once, as one event."""

    def __init__(self, run: Journal, kind: str):
        self.run, self.kind = run, kind
        self.logged = {event["trial"] for event in run.find_events("trial")}

    def log_scores(self, scores: dict[str, float], files: list[Path]) -> None:
        """Log what the study found, as `study/...`, and its files."""
        self.run.log_metrics({f"study/{name}": value for name, value in scores.items()})
        for path in files:
            self.run.log_file("artifact", path)

    def log(self, number: int, params: dict[str, Any], result: dict[str, Any]) -> None:
        """`params` are those of the section `train`, by dotted key; `result` is that of `Training.describe`."""
        if number in self.logged:
            return
        points = [
            (f"{group}/{column}", float(value), int(row["step"]))
            for group in ("train", "validation")
            for row in result[group]
            for column, value in row.items()
            if column not in NO_CURVE
        ]
        self.run.log_event(
            "trial",
            trial=number,
            name=f"{self.kind} {number}",
            params=stringify(params),
            points=[*points, ("time/trial_seconds", result["seconds"], 0)],
            tags={STATE_TAG: "stopped" if result["stopped"] else "complete"},
            started=round(1000 * result["started"]),
            ended=round(1000 * (result["started"] + result["seconds"])),
        )
        self.logged.add(number)
