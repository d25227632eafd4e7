"""Send to MLflow what was not sent yet, and restore in MLflow the runs of DVC's experiments that it lacks.

python -m stages.sync            # send and restore
python -m stages.sync --check    # only compare: does each DVC experiment have a run, with the same values?
"""

import argparse
import os
import select
import sys
import time
from contextlib import suppress

from filelock import Timeout

# Set before MLflow is imported, which reads them then: a server that never answers must not hold up other runs.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

from stages.core.errors import UserError
from stages.core.parent import is_running
from stages.core.secrets import redact_output
from stages.core.stage import report_errors
from stages.tracking.journal import Journal
from stages.tracking.journal_folder import list_journals, open_journal, remove_partly_deleted
from stages.tracking.mlflow_sender import send
from stages.tracking.mlflow_store import NotReachedError, NotSentError, describe_error
from stages.tracking.store_uri import read_store_uri
from stages.tracking.system_metrics import sample_system_metrics

SECONDS_BETWEEN_POLLS = 0.5
SECONDS_AFTER_FAILURE = 30


def main() -> None:
    arguments = parse_arguments()
    if arguments.follow:
        follow(arguments.follow, arguments.stage, arguments.system_metrics)
        return
    # Imported here, because DVC takes a third of a second, and the sender that each stage starts does not need it.
    from stages.tracking.reconcile import reconcile_all

    uri = read_store_uri()
    if not arguments.check:
        failed = send_waiting()
        if failed:
            raise UserError(f"{failed} runs could not be sent; they stay in mlruns/journal")
    reconcile_all(uri, arguments.check)


def follow(key: str, stage: int, system_metrics: bool) -> None:
    """Send a journal while a stage, the process with the id `stage`, writes it; then send what waits."""
    journal = open_journal(key)
    if journal is not None:
        # This waits until the sender of the stage before has finished; it may delete the journal.
        with suppress(FileNotFoundError), journal.lock_for_sending():
            with sample_system_metrics(journal, system_metrics):
                send_while_written(journal, stage)
            journal.close_if_killed()
            try:
                send(journal)
            except NotSentError as error:
                print(f"{key}: {error}")
    send_waiting()


def send_while_written(journal: Journal, stage: int) -> None:
    """Send until the stage has ended in whatever way.

    Its end closes the stdin of this process, unless a process that it started, such as a worker that loads data, still
    has the other end; so its id is asked for too.
    """
    next_try = time.monotonic()
    while is_running(stage) and not select.select([sys.stdin], [], [], SECONDS_BETWEEN_POLLS)[0]:
        if time.monotonic() < next_try:
            continue
        try:
            send(journal)
        except NotSentError:
            next_try = time.monotonic() + SECONDS_AFTER_FAILURE


def send_waiting() -> int:
    """Send all journals that no other process sends; return how many failed. A store that is down is tried once."""
    failed, down = 0, set()
    remove_partly_deleted()
    for journal in list_journals():
        name = f"{journal.start_event.get('name')} ({journal.key})"
        uri = journal.start_event.get("uri")
        if uri in down:
            failed += 1
            continue
        try:
            with suppress(Timeout, FileNotFoundError), journal.lock_for_sending(timeout=0):
                journal.close_if_killed()
                if journal.count_unsent():
                    print(f"{name}: {send(journal)} events sent to MLflow")
        except (NotSentError, OSError) as error:
            failed += 1
            print(f"{name}: {journal.count_unsent()} events not sent: {describe_error(error)}")
            if isinstance(error, NotReachedError):
                down.add(uri)
    return failed


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.sync", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare DVC's experiments with MLflow's runs")
    parser.add_argument("--follow", metavar="KEY", help="send one run while a stage writes it (stages start this)")
    parser.add_argument("--stage", metavar="PID", type=int, help="with --follow: the process of the stage")
    parser.add_argument("--system-metrics", action="store_true", help="with --follow: sample CPU, memory, disk, GPU")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("sync"):
        redact_output()
        main()
