"""The journal of a run: all that it logs, written to disk first, in order, and sent to MLflow from there.

`mlruns/journal/<key>/` contains a run's events (`events.jsonl`), copies of the files that it logs, and how much was
sent (`state.json`). The folder is deleted when all is sent and the run is finished, or a month after its last event.
Nothing here imports MLflow.
"""

import errno
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from stages.core.errors import UserError
from stages.core.files import main_checkout, read_json, write_json
from stages.core.secrets import redact, redact_all
from stages.tracking.unconfirmed import is_marked, keep, was_killed

Event = dict[str, Any]
# What readers of an event need; events of other kinds have what the sender needs, which reports an error of its own.
FIELDS: dict[str, dict[str, type]] = {
    "run": {"key": str},
    "metrics": {"metrics": dict, "step": int},
    "status": {"status": str},
    "trial": {"trial": int},
}
KEEP_DAYS = 30  # since the last event, for runs that were never finished
NOT_COPIED = (".*", "studies", "label_issues.csv")  # hidden files, and what studies of other runs wrote to reports/
SETTINGS = {".yaml", ".lock"}  # files that may name a URL with a password


class Journal:
    """The events of one run, each a line of JSON with its time in milliseconds.

    An event that cannot be written, to a full or read-only disk, is lost with a warning: no training fails because of
    it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.events = folder / "events.jsonl"
        self.has_warned = False
        points = self.find_events("metrics")
        self.logged = {(name, event["step"]): value for event in points for name, value in event["metrics"].items()}

    @classmethod
    def create(cls, **values: Any) -> "Journal":
        """Create the journal of a new run."""
        journal = cls(journals_folder() / uuid.uuid4().hex)
        with journal.warn_if_unwritable():
            journal.folder.mkdir(mode=0o700, parents=True)
        journal.log_event("run", key=journal.key, **values)
        return journal

    @property
    def key(self) -> str:
        """The name by which DVC's and MLflow's records of the run refer to each other."""
        return self.folder.name

    def log_event(self, kind: str, **values: Any) -> None:
        """Append an event without the secrets of URLs, in one write, so that several processes can log at once."""
        line = json.dumps({"kind": kind, "time": time.time_ns() // 10**6} | redact_all(values), ensure_ascii=False)
        with self.warn_if_unwritable():
            file = os.open(self.events, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                # The first line end closes a line that was written in part. No store takes lone surrogates.
                data = f"\n{line}\n".encode(errors="replace")
                if os.write(file, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(file)

    @contextmanager
    def warn_if_unwritable(self) -> Iterator[None]:
        """Turn an OSError into a warning, printed once a run."""
        try:
            yield
        except OSError as error:
            if not self.has_warned:
                print(
                    f"warning: {self.folder}: cannot be written ({error.strerror or error}); "
                    "MLflow will not show everything about this run",
                    file=sys.stderr,
                )
            self.has_warned = True

    def log_metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        """Append points of curves, except those that were logged before a training was interrupted."""
        values = {name: float(value) for name, value in metrics.items()}
        new = {name: value for name, value in values.items() if not is_same(self.logged.get((name, step)), value)}
        self.logged |= {(name, step): value for name, value in new.items()}
        if new:
            self.log_event("metrics", metrics=new, step=step)

    def log_file(self, kind: str, path: Path, **values: Any) -> None:
        """Append an event about a file or folder, which is copied, because the next stage or run may replace it.

        The copy of a settings file, such as params.yaml, is without the secrets of URLs.
        """
        copy = self.folder / "files" / uuid.uuid4().hex / path.name
        with self.warn_if_unwritable():
            copy.parent.mkdir(parents=True)
            try:
                if path.is_dir():
                    shutil.copytree(path, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
                else:
                    copy_file(path, copy)
            except OSError:
                shutil.rmtree(copy.parent)
                raise
            self.log_event(kind, path=str(copy.relative_to(self.folder)), **values)

    def read(self, start: int = 0) -> Iterator[tuple[Event, int]]:
        """Yield the events after byte `start`, each with the byte at which it ends.

        A last line without line end is left for the next time: it is still being written.
        """
        with suppress(OSError), self.events.open("rb") as file:
            if start > file.seek(0, os.SEEK_END):  # the file became shorter; sending events again is harmless
                start = 0
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                start += len(line)
                with suppress(ValueError, RecursionError):  # a line that a full disk truncated
                    event = json.loads(line)
                    if is_event(event):
                        yield event, start

    def find_events(self, *kinds: str) -> list[Event]:
        return [event for event, _ in self.read() if event["kind"] in kinds]

    @property
    def start_event(self) -> Event:
        """The event that created the run; empty when it cannot be read, and then nothing can be sent."""
        return (self.find_events("run") or [{}])[0]

    @property
    def name(self) -> str | None:
        """The run's name: the last one, because another experiment may have resumed the run."""
        events = self.find_events("run", "name")
        return events[-1].get("name") if events else None

    @property
    def status(self) -> str:
        """RUNNING, PAUSED (no stage of it runs), or how the run ended."""
        return (self.find_events("status") or [{"status": "PAUSED"}])[-1]["status"]

    @property
    def state(self) -> dict[str, Any]:
        """How many bytes were sent, MLflow's id of the run, and the last error of sending."""
        state = {"sent": 0, "run_id": None, "error": None}
        # When the file is missing or broken, all events are sent, or sent again, which is harmless.
        with suppress(UserError, OSError):
            state |= read_json(self.folder / "state.json", state)
        return state

    @property
    def run_id(self) -> str:
        """MLflow's own id of the run."""
        return self.state["run_id"]

    @property
    def is_refused(self) -> bool:
        """Whether MLflow will never accept this run: the event that creates it was sent, and there is no run."""
        state = self.state
        return state["sent"] > 0 and state["run_id"] is None

    def set_state(self, **values: Any) -> None:
        write_json(self.folder / "state.json", self.state | values)

    def count_unsent(self) -> int:
        """Number of events that were not sent."""
        return sum(1 for _ in self.read(self.state["sent"]))

    @contextmanager
    def lock_for_writing(self) -> Iterator[None]:
        """Hold the lock that shows other processes that the stage which logs is alive."""
        with ExitStack() as locks:
            with self.warn_if_unwritable():
                locks.enter_context(FileLock(self.folder / "writer.lock"))
            yield

    @contextmanager
    def lock_for_sending(self, timeout: float = -1) -> Iterator[None]:
        """Let no other process send; at the end, delete the journal if it is complete.

        Raises Timeout when another process sends for longer than `timeout` seconds, and FileNotFoundError when the
        journal is deleted in that time.
        """
        with FileLock(self.folder / "sender.lock", timeout=timeout):
            yield
            if self.is_complete() and is_marked(self.folder):
                keep(self.folder)
            elif self.is_complete():
                # Renamed first, in one step, because another process may be reading the folder.
                deleted = self.folder.rename(self.folder.with_name(f".{self.key}"))
                shutil.rmtree(deleted, ignore_errors=True)

    @property
    def is_finished(self) -> bool:
        """Whether the run is over; a stage that was killed after it had logged that runs again, and continues it."""
        return self.status == "FINISHED" and not was_killed(self.folder)

    def is_complete(self) -> bool:
        """Whether all is sent and no more events are expected, or another process has deleted the journal."""
        try:
            is_old = time.time() - self.events.stat().st_mtime > KEEP_DAYS * 86400
        except FileNotFoundError:
            return True
        return (self.status == "FINISHED" or is_old) and not self.count_unsent()

    def close_if_killed(self) -> None:
        """Log that the run was killed, if the process that wrote it has ended without logging a status."""
        try:
            with FileLock(self.folder / "writer.lock", timeout=0):
                if self.status == "RUNNING":
                    self.log_event("status", status="KILLED")
        except OSError:  # the process is alive (Timeout is an OSError), or the file is another user's
            return


def copy_file(path: Path, copy: Path) -> None:
    """Copy a file; of params.yaml and dvc.lock, which hold all params, without the secrets of URLs in them."""
    if path.suffix in SETTINGS:
        copy.write_bytes(redact(path.read_bytes().decode(errors="surrogateescape")).encode(errors="surrogateescape"))
    else:
        shutil.copyfile(path, copy)


def is_event(value: Any) -> bool:
    """Whether this is an event as `log_event` writes it; a disk may have changed it, and it is still JSON."""
    if not isinstance(value, dict) or not isinstance(value.get("time"), int) or not isinstance(value.get("kind"), str):
        return False
    return all(isinstance(value.get(name), kind) for name, kind in FIELDS.get(value["kind"], {}).items())


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal; NaN is equal to NaN."""
    return one == other or (one != one and other != other)


def journals_folder() -> Path:
    return main_checkout() / "mlruns" / "journal"
