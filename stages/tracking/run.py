"""What the stages tell MLflow: one run for each run of the pipeline, begun by `train` and completed by `evaluate`.

Stages write to the run's journal, and a process beside them (`stages.sync`) sends it. So MLflow can neither slow down
nor break a run, and a run whose process was killed does not stay RUNNING.
"""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stages.core.cache import name_of
from stages.core.csv_tables import read_rows
from stages.core.files import main_checkout, sha256
from stages.core.params import Tracking
from stages.tracking.journal import Journal, find, open_journal
from stages.tracking.provenance import run_name

SECONDS_WITHOUT_PROGRESS = 30  # that a finished pipeline waits for MLflow
SENDER_LOG_BYTES = 10**6  # of mlruns/sender.log, before it begins anew


@contextmanager
def open_run(
    tracking: Tracking, params: dict[str, Any], tags: dict[str, str], inputs: dict[str, Any]
) -> Iterator[Journal]:
    """The run with these params and inputs: that of an earlier attempt which was interrupted, or a new one.

    When the block ends well the run waits, as SCHEDULED in MLflow, for `evaluate` to complete it.
    """
    with telling(begin(tracking, params, tags, inputs), tracking, "PAUSED") as run:
        yield run


@contextmanager
def resume_run(
    tracking: Tracking, key: str, params: dict[str, Any], tags: dict[str, str], history: tuple[Path, Path]
) -> Iterator[Journal]:
    """Continue the run that `train` began; when the block ends well it is FINISHED.

    A run of its own is begun, with a tag that leads to the other and the curves of its `history`, when that one is
    finished already (this pipeline run did not train, only evaluates anew), has other params, or was begun elsewhere.
    """
    run = open_journal(key)
    same = run is not None and [event["params"] for event in run.of_kind("params")] == [texts(params)]
    if not same or run.status == "FINISHED":
        curves = [read_rows(path) for path in history]
        run = begin(tracking, params, tags | {"train.run": key}, {"train.run": key})
        tell_history(run, *curves)
    elif run.name != run_name(params):  # an experiment that ended before this one took its place
        run.tell("name", name=run_name(params), tags=tags)
    with telling(run, tracking, "FINISHED"):
        yield run


def begin(tracking: Tracking, params: dict[str, Any], tags: dict[str, str], inputs: dict[str, Any]) -> Journal:
    """The journal of an unfinished run that was begun with the same, else a new one."""
    name, same = run_name(params), name_of({"all_params": texts(params), "inputs": inputs})
    run = find(same)
    if run is None:
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        run = Journal.create(inputs=same, uri=uri, experiment=tracking.experiment, name=name, tags=tags)
        run.tell("params", params=texts(params))
    else:
        run.tell("name", name=name, tags=tags)
    return run


def texts(params: dict[str, Any]) -> dict[str, str]:
    """Params as MLflow keeps them."""
    return {key: str(value) for key, value in params.items()}


@contextmanager
def telling(run: Journal, tracking: Tracking, status: str) -> Iterator[Journal]:
    """Let what a stage tells be sent; then end the run with `status`, or KILLED on Ctrl-C, FAILED on another error."""
    with run.writing():
        run.tell("status", status="RUNNING")
        sender = start_sender(run, tracking.system_metrics)
        try:
            yield run
        except BaseException as error:
            run.tell("status", status="KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        run.tell("status", status=status)
    if sender is None:
        return
    sender.stdin.close()
    if status == "FINISHED":
        with suppress(KeyboardInterrupt):
            wait_for(sender, run)
    waiting, error = run.waiting(), run.state["error"]
    if error or (waiting and status == "FINISHED"):
        print(
            f"warning: MLflow at {run.head.get('uri') or 'mlruns'} does not take what this run tells "
            f"({error or 'it takes long'}). It waits in {run.folder.relative_to(main_checkout())}, "
            "and is sent with the next run or by python -m stages.sync",
            file=sys.stderr,
        )


def start_sender(run: Journal, system_metrics: bool) -> subprocess.Popen | None:
    """Start the process that sends the journal while this one writes; it sees by its closed stdin when this one ends.

    It has a session of its own, so that neither Ctrl-C nor the end of a terminal stops it. None where there is no
    journal to send.
    """
    command = [sys.executable, "-m", "stages.sync", "--follow", run.key, *["--system-metrics"] * system_metrics]
    with run.losing_what_cannot_be_written():
        log = main_checkout() / "mlruns" / "sender.log"
        new = log.exists() and log.stat().st_size > SENDER_LOG_BYTES
        with log.open("wb" if new else "ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            )  # fmt: skip


def wait_for(sender: subprocess.Popen, run: Journal) -> None:
    """Wait until all is sent, or nothing gets through, or the user does not want to wait."""
    sent, since = None, time.monotonic()
    while sender.poll() is None and run.events.exists() and time.monotonic() - since < SECONDS_WITHOUT_PROGRESS:
        if sent != (sent := run.state["sent"]):
            since = time.monotonic()
        time.sleep(0.1)


def tell_history(run: Journal, training: Iterable[dict[str, Any]], validation: Iterable[dict[str, Any]]) -> None:
    """Tell the curves of a training from the tables that it wrote."""
    for group, rows in (("train", training), ("validation", validation)):
        for row in rows:
            values = {name: float(value) for name, value in row.items() if name != "step"}
            run.tell_metrics({f"{group}/{name}": value for name, value in values.items()}, int(row["step"]))


def log_results(run: Journal, metrics: dict[str, float], timings: dict[str, float], artifacts: list[Path]) -> None:
    """Tell test metrics as `test/...`, timings such as `train_seconds` as `time/...`, and files and folders."""
    run.tell_metrics({f"test/{name}": value for name, value in metrics.items()})
    run.tell_metrics({f"time/{name}": value for name, value in timings.items()})
    for path in artifacts:
        if path.exists():  # there is no dvc.lock when a stage is run by hand
            run.tell_file("artifact", path)


def log_model(run: Journal, weights: Path, metrics: dict[str, float]) -> None:
    """Tell the SHA-256 of the model's weights as a tag, and from `train`'s metrics its numbers of parameters."""
    if weights.exists():  # in DVC's cache, of a run that is restored
        run.tell("tags", tags={"model.sha256": sha256(weights)})
    run.tell_metrics({f"train/{name}": value for name, value in metrics.items() if name.endswith("_parameters")})


def log_frozen(run: Journal, report: dict[str, float]) -> None:
    """Tell as `frozen/...` whether outputs of the frozen layers were found (1) or computed (0), seconds and bytes."""
    run.tell_metrics({f"frozen/{name}": value for name, value in report.items()})


def log_datasets(run: Journal, statistics: dict[str, Any]) -> None:
    """Tell each split of `data/raw` as an input of the run, and as metrics how many rows were dropped or leak."""
    digests = {split: values["raw_sha256"] for split, values in statistics["splits"].items()}
    rows = {split: values["rows"] for split, values in statistics["splits"].items()}
    run.tell("datasets", digests=digests, rows=rows, columns=statistics["columns"])
    dropped: Counter[str] = Counter()
    for reasons in statistics["dropped"].values():
        dropped.update(reasons)
    counts = {"data/dropped/" + re.sub(r"[^\w .-]", "", reason)[:200]: count for reason, count in dropped.items()}
    leaks = {f"data/leaks/{key}": count for key, count in statistics["leaks"].items()}
    run.tell_metrics({"data/dropped_rows": dropped.total()} | counts | leaks)
