"""The MLflow run of a pipeline run: opened by `train`, completed by `evaluate`.

Stages write to the run's journal, and a separate process (`stages.sync`) sends it to MLflow. So MLflow can neither
slow down nor break a stage, and a run whose process was killed does not stay RUNNING.
"""

import hashlib
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

from stages.core.cache import hash_key
from stages.core.csv_tables import read_numbers
from stages.core.files import main_checkout, sha256, sha256_of_all
from stages.core.param_sections import Tracking
from stages.core.secrets import redact
from stages.tracking.journal import Journal, journals_folder
from stages.tracking.journal_folder import find_unfinished, open_journal
from stages.tracking.provenance import TRAIN_RUN_TAG, make_run_name
from stages.tracking.store_uri import describe_store, read_store_uri
from stages.tracking.unconfirmed import confirm, mark, return_killed

SECONDS_WITHOUT_PROGRESS = 30  # that a finished pipeline waits for MLflow
MAX_SENDER_LOG = 10**6  # bytes of mlruns/sender.log, before it is replaced
MAX_PARAM = 6000  # characters of a param's value that MLflow stores
NO_CURVE = {"step", "best"}  # columns of plots/*.csv that are not metrics


@contextmanager
def open_run(
    tracking: Tracking, params: dict[str, Any], tags: dict[str, str], inputs: dict[str, Any]
) -> Iterator[Journal]:
    """Open the run with these params and inputs: that of an earlier attempt which was interrupted, or a new one.

    When the block ends without an error the run waits, as SCHEDULED in MLflow, for `evaluate` to complete it.
    """
    with record_stage(find_or_create_run(tracking, params, tags, inputs), tracking, "PAUSED") as run:
        yield run


@contextmanager
def resume_run(
    tracking: Tracking, key: str, params: dict[str, Any], tags: dict[str, str], history: tuple[Path, Path]
) -> Iterator[Journal]:
    """Resume the run that `train` opened; when the block ends without an error it is FINISHED.

    Another run is created, with a tag that leads to the first and the curves in `history`, when the first is finished
    already (this pipeline run did not train, it only evaluates again), has other params, or was created on another
    machine. Not when the process that finished it was killed before `confirm_finished`: it continues the first.
    """
    return_killed(journals_folder())
    run = open_journal(key)
    if run is None or run.is_finished or not has_params(run, params):
        curves = [read_numbers(path) for path in history]
        run = find_or_create_run(tracking, params, tags | {TRAIN_RUN_TAG: key}, {TRAIN_RUN_TAG: key})
        log_history(run, *curves)
    elif run.name != make_run_name(params):  # DVC restored the training, and another experiment evaluates it
        run.log_event("name", name=make_run_name(params), tags=tags)
    with record_stage(run, tracking, "FINISHED"):
        yield run


def confirm_finished() -> None:
    """The last step of a stage that finishes a run, when all its files are written: only now DVC will not repeat it."""
    confirm(journals_folder())


def has_params(run: Journal, params: dict[str, Any]) -> bool:
    return [event["params"] for event in run.find_events("params")] == [stringify(params)]


def find_or_create_run(
    tracking: Tracking, params: dict[str, Any], tags: dict[str, str], inputs: dict[str, Any], name: str | None = None
) -> Journal:
    """The journal of an unfinished run that was created with the same params and inputs, else a new one.

    Without a `name` it is called as experiment, commit and params say.
    """
    name = name or make_run_name(params)
    inputs_hash = hash_key({"all_params": stringify(params), "inputs": inputs})
    run = find_unfinished(inputs_hash)
    if run is None:
        run = Journal.create(
            inputs=inputs_hash, uri=read_store_uri(), experiment=tracking.experiment, name=name, tags=tags
        )
        run.log_event("params", params=stringify(params))
    else:
        run.log_event("name", name=name, tags=tags)
    return run


def stringify(params: dict[str, Any]) -> dict[str, str]:
    """Params as MLflow stores them: texts without the secrets of URLs, the end of long ones replaced by their hash."""
    return {key: shorten(redact(str(value)).encode(errors="replace").decode()) for key, value in params.items()}


def shorten(text: str) -> str:
    """The text, or the beginning and the SHA-256 of one that MLflow would truncate or refuse."""
    if len(text) <= MAX_PARAM:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[: MAX_PARAM - 200]}... ({len(text)} characters, SHA-256 {digest})"


@contextmanager
def record_stage(run: Journal, tracking: Tracking, status: str) -> Iterator[Journal]:
    """Send what a stage logs in the block, then log `status`; on Ctrl-C KILLED, on another error FAILED."""
    with run.lock_for_writing():
        run.log_event("status", status="RUNNING")
        sender = start_sender(run, tracking.system_metrics)
        try:
            yield run
        except BaseException as error:
            run.log_event("status", status="KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        if status == "FINISHED":
            with run.warn_if_unwritable():
                mark(run.folder)
        run.log_event("status", status=status)
    if sender is None:
        return
    if sender.stdin:
        sender.stdin.close()
    if status == "FINISHED":
        with suppress(KeyboardInterrupt):
            wait_for_sender(sender, run)
    warn_if_unsent(run, status)


def warn_if_unsent(run: Journal, status: str) -> None:
    """Warn when MLflow refuses events or, for a finished run, has not received all of them yet."""
    if run.is_refused:
        where = describe_store(run.start_event.get("uri"))
        print(f"warning: MLflow at {where} refuses this run; mlruns/sender.log says why", file=sys.stderr)
        return
    problem = run.state["error"]
    if problem or (run.count_unsent() and status == "FINISHED"):
        print(
            f"warning: MLflow at {describe_store(run.start_event.get('uri'))} did not accept all events of this run "
            f"({problem or 'it is too slow'}). They wait in {run.folder.relative_to(main_checkout())} and are sent "
            "with the next run, or by python -m stages.sync",
            file=sys.stderr,
        )


def start_sender(run: Journal, system_metrics: bool) -> subprocess.Popen | None:
    """Start the process that sends the journal while this one writes; it notices by its closed stdin when this ends.

    It has a session of its own, so that neither Ctrl-C nor the end of a terminal stops it. None when mlruns/ cannot be
    written: then there is no journal to send.
    """
    command = [sys.executable, "-m", "stages.sync", "--follow", run.key, "--stage", str(os.getpid())]
    command += ["--system-metrics"] * system_metrics
    with run.warn_if_unwritable():
        log = main_checkout() / "mlruns" / "sender.log"
        is_full = log.exists() and log.stat().st_size > MAX_SENDER_LOG
        log.touch(mode=0o600)
        with log.open("wb" if is_full else "ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            )  # fmt: skip
    return None


def wait_for_sender(sender: subprocess.Popen, run: Journal) -> None:
    """Wait until all is sent, or until nothing was sent for SECONDS_WITHOUT_PROGRESS."""
    sent, last_progress = None, time.monotonic()
    while sender.poll() is None and run.events.exists():
        if sent != (sent := run.state["sent"]):
            last_progress = time.monotonic()
        if time.monotonic() - last_progress > SECONDS_WITHOUT_PROGRESS:
            return
        time.sleep(0.1)


def log_history(run: Journal, training: Iterable[dict[str, Any]], validation: Iterable[dict[str, Any]]) -> None:
    """Log the curves of a training from the tables that it wrote, as `train/...` and `validation/...`."""
    for group, rows in (("train", training), ("validation", validation)):
        for row in rows:
            values = {f"{group}/{name}": float(value) for name, value in row.items() if name not in NO_CURVE}
            run.log_metrics(values, int(row["step"]))


def log_results(run: Journal, metrics: dict[str, float], timings: dict[str, float], artifacts: list[Path]) -> None:
    """Log test metrics as `test/...`, timings such as `train_seconds` as `time/...`, and files and folders."""
    run.log_metrics({f"test/{name}": value for name, value in metrics.items()})
    run.log_metrics({f"time/{name}": value for name, value in timings.items()})
    for path in artifacts:
        if path.exists():  # there is no dvc.lock when a stage is run by hand
            run.log_file("artifact", path)


def log_weights(run: Journal, classifier: Path, metrics: dict[str, float]) -> None:
    """Log the SHA-256 of the model's weights as a tag, and from `train`'s metrics the number of ranks and parameters.

    Where the head has a file of its own, it is that of both. The number of ranks is the tag `train.ranks`.
    """
    weights = sorted(classifier.rglob("*.safetensors"))
    if (classifier / "model.safetensors").exists():  # those of a restored run may be missing in DVC's cache
        digest = sha256(weights[0]) if len(weights) == 1 else sha256_of_all(weights)
        run.log_event("tags", tags={"model.sha256": digest})
    if "ranks" in metrics:
        run.log_event("tags", tags={"train.ranks": str(metrics["ranks"])})
    run.log_metrics({f"train/{name}": value for name, value in metrics.items() if name.endswith("_parameters")})


def log_resolved(run: Journal, values: dict[str, Any]) -> None:
    """Log as tags, such as `resolved.train.learning_rate`, what params that may be `auto` were in this run."""
    run.log_event("tags", tags={f"resolved.{key}": str(value) for key, value in values.items()})


def log_feature_cache(run: Journal, report: dict[str, float]) -> None:
    """Log as `features/...` of how many rows the frozen layers' features were computed or found, seconds and bytes."""
    run.log_metrics({f"features/{name}": value for name, value in report.items()})


def log_datasets(run: Journal, statistics: dict[str, Any]) -> None:
    """Log each split of `data/raw` as an input of the run, and as metrics how many rows were dropped or leak."""
    digests = {split: values["raw_sha256"] for split, values in statistics["splits"].items()}
    rows = {split: values["rows"] for split, values in statistics["splits"].items()}
    run.log_event("datasets", digests=digests, rows=rows, columns=statistics["columns"])
    dropped: Counter[str] = Counter()
    for reasons in statistics["dropped"].values():
        dropped.update(reasons)
    # MLflow refuses most other characters in the name of a metric, and names of more than 250 characters.
    counts = {"data/dropped/" + re.sub(r"[^\w .-]", "", reason)[:200]: count for reason, count in dropped.items()}
    leaks = {f"data/leaks/{key}": count for key, count in statistics["leaks"].items()}
    run.log_metrics({"data/dropped_rows": dropped.total()} | counts | leaks)
