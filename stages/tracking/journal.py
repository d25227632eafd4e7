"""What pipeline runs have to tell MLflow: written to disk first, in order, and sent from there.

`mlruns/journal/<key>/` holds a run's events (`events.jsonl`), copies of the files that it logs, and how far it was sent
(`state.json`). It goes when all is sent and the run is finished, or nothing was told for a month. Nothing here knows
MLflow.
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

Event = dict[str, Any]
KEPT_DAYS = 30  # since the last event, of runs that were never finished


class Journal:
    """The events of one run, each a line of JSON with its time in milliseconds.

    What cannot be written, to a full or read-only disk, is lost with a warning: no training ends because of it.
    """

    def __init__(self, folder: Path):
        self.folder, self.events, self.warned = folder, folder / "events.jsonl", False
        metrics = self.of_kind("metrics")
        self.told = {(name, event["step"]): value for event in metrics for name, value in event["metrics"].items()}

    @classmethod
    def create(cls, **values: Any) -> "Journal":
        """Begin the journal of a new run."""
        journal = cls(journals_folder() / uuid.uuid4().hex)
        with journal.losing_what_cannot_be_written():
            journal.folder.mkdir(parents=True)
        journal.tell("run", key=journal.key, **values)
        return journal

    @property
    def key(self) -> str:
        """By which DVC's and MLflow's side of the run know each other."""
        return self.folder.name

    def tell(self, kind: str, **values: Any) -> None:
        """Append an event, in one write, so that several processes may tell."""
        line = json.dumps({"kind": kind, "time": time.time_ns() // 10**6} | values)
        with self.losing_what_cannot_be_written():
            file = os.open(self.events, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                data = f"\n{line}\n".encode()  # a line before it that was cut stays a line of its own
                if os.write(file, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(file)

    @contextmanager
    def losing_what_cannot_be_written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self.warned:
                lost = f"{self.folder}: cannot be written ({error.strerror or error}), so MLflow will not show all"
                print(f"warning: {lost} of this run", file=sys.stderr)
            self.warned = True

    def tell_metrics(self, metrics: dict[str, float], step: int = 0) -> None:
        """Append points of curves, but for those that were told before a training was interrupted."""
        new = {name: float(value) for name, value in metrics.items() if self.told.get((name, step)) != value}
        self.told |= {(name, step): value for name, value in new.items()}
        if new:
            self.tell("metrics", metrics=new, step=step)

    def tell_file(self, kind: str, path: Path, **values: Any) -> None:
        """Append an event about a file or folder, which is copied, since the next stage or run may replace it."""
        copy = self.folder / "files" / uuid.uuid4().hex / path.name
        with self.losing_what_cannot_be_written():
            copy.parent.mkdir(parents=True)
            try:
                if path.is_dir():
                    shutil.copytree(path, copy, ignore=shutil.ignore_patterns(".*"))
                else:
                    shutil.copyfile(path, copy)
            except OSError:
                shutil.rmtree(copy.parent)
                raise
            self.tell(kind, path=str(copy.relative_to(self.folder)), **values)

    def read(self, start: int = 0) -> Iterator[tuple[Event, int]]:
        """Yield the events behind byte `start`, each with the byte behind it; a line that is being written is left."""
        with suppress(OSError), self.events.open("rb") as file:
            if start > file.seek(0, os.SEEK_END):  # it was cut; to send it again does no harm
                start = 0
            file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                start += len(line)
                with suppress(ValueError, RecursionError):  # a full disk cut it
                    event = json.loads(line)
                    if isinstance(event, dict) and {"kind", "time"} <= event.keys():
                        yield event, start

    def of_kind(self, *kinds: str) -> list[Event]:
        return [event for event, _ in self.read() if event["kind"] in kinds]

    @property
    def head(self) -> Event:
        """What the run was begun with; nothing when that cannot be read, and so nothing can be sent."""
        return (self.of_kind("run") or [{}])[0]

    @property
    def name(self) -> str | None:
        """The run's name, which is another's when that one goes on with it."""
        events = self.of_kind("run", "name")
        return events[-1].get("name") if events else None

    @property
    def status(self) -> str:
        """RUNNING, PAUSED (no stage of it runs), or how the run ended."""
        return (self.of_kind("status") or [{"status": "PAUSED"}])[-1]["status"]

    @property
    def state(self) -> dict[str, Any]:
        state = {"sent": 0, "run_id": None, "error": None}
        with suppress(UserError, OSError):  # missing or broken: all is sent, or sent again, which does no harm
            state |= read_json(self.folder / "state.json", state)
        return state

    @property
    def run_id(self) -> str:
        """MLflow's own id of the run."""
        return self.state["run_id"]

    def set_state(self, **values: Any) -> None:
        write_json(self.folder / "state.json", self.state | values)

    def waiting(self) -> int:
        """Number of events that were not sent."""
        return sum(1 for _ in self.read(self.state["sent"]))

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What a stage holds while it tells, so that others see that it lives."""
        with ExitStack() as held:
            with self.losing_what_cannot_be_written():
                held.enter_context(FileLock(self.folder / "writer.lock"))
            yield

    @contextmanager
    def sending(self, timeout: float = -1) -> Iterator[None]:
        """What a process holds while it sends; at the end the journal goes if nothing more is to come.

        Timeout when another process sends it for longer than that, FileNotFoundError when it goes in that time.
        """
        with FileLock(self.folder / "sender.lock", timeout=timeout):
            yield
            if self.done():
                gone = self.folder.rename(self.folder.with_name(f".{self.key}"))  # at once, as others may look at it
                shutil.rmtree(gone, ignore_errors=True)

    def done(self) -> bool:
        """Whether all is sent and nothing more is to come, or another process found that and removed it."""
        try:
            forgotten = time.time() - self.events.stat().st_mtime > KEPT_DAYS * 86400
        except FileNotFoundError:
            return True
        return (self.status == "FINISHED" or forgotten) and not self.waiting()

    def close_if_killed(self) -> None:
        """Tell that the run was killed, if the process that wrote it is gone and did not say how it ended."""
        try:
            with FileLock(self.folder / "writer.lock", timeout=0):
                if self.status == "RUNNING":
                    self.tell("status", status="KILLED")
        except OSError:  # it lives (Timeout is one too), or is another user's
            return


def journals_folder() -> Path:
    return main_checkout() / "mlruns" / "journal"


def journals() -> list[Journal]:
    """All journals, the run that began first comes first; a warning names those that cannot be read."""
    found = []
    for path in journals_folder().glob("[!.]*/events.jsonl"):
        journal = Journal(path.parent)
        if head := journal.head:
            found.append((head["time"], journal.key, journal))
        elif path.exists() and path.read_bytes():
            print(f"warning: {journal.folder}: broken, and cannot be sent; delete it", file=sys.stderr)
    return [journal for _, _, journal in sorted(found)]


def remove_gone() -> None:
    """Remove what a process left that was killed while it removed a journal."""
    for folder in journals_folder().glob(".*"):
        shutil.rmtree(folder, ignore_errors=True)


def open_journal(key: str) -> Journal | None:
    """The journal of a run; None when it is finished and sent, was begun elsewhere, or is broken."""
    journal = Journal(journals_folder() / key)
    return journal if journal.head else None


def find(inputs: str) -> Journal | None:
    """The journal of a run that was begun with these inputs and is not finished."""
    matching = [one for one in journals() if one.head.get("inputs") == inputs and one.status != "FINISHED"]
    return matching[-1] if matching else None
