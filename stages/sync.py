"""Send to MLflow what could not be sent, and the runs that it lacks of experiments that DVC has.

python -m stages.sync            # send
python -m stages.sync --check    # only compare: does each DVC experiment have its run, and do both say the same?
"""

import argparse
import os
import select
import sys
import time
from contextlib import suppress

from dvc.exceptions import DvcException
from filelock import FileLock, Timeout

# Before MLflow is imported: a server that never answers must not hold up what waits behind it.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

from mlflow.exceptions import MlflowException

from stages.core.errors import UserError
from stages.core.files import main_checkout
from stages.core.stage import telling_faults
from stages.tracking.dvc_experiments import Experiment, all_experiments
from stages.tracking.journal import Journal, journals, open_journal, remove_gone
from stages.tracking.mlflow_sender import NotReachedError, NotSentError, connect, reason, send
from stages.tracking.reconcile import differences, restore, run_of
from stages.tracking.system_metrics import sampled

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_AFTER_FAILURE = 30


def main() -> None:
    arguments = parse_arguments()
    if arguments.follow:
        follow(arguments.follow, arguments.system_metrics)
        return
    uri = os.environ.get("MLFLOW_TRACKING_URI")  # now, since MLflow sets it to whatever it sends to
    if not arguments.check and (failed := send_waiting()):
        raise UserError(f"{failed} runs could not be sent; they stay in mlruns/journal")
    try:
        experiments = all_experiments()
    except DvcException as error:
        raise UserError(f"DVC: {error}") from error
    with FileLock(main_checkout() / "mlruns" / "sync.lock"):  # or two would restore the same run
        fits = [fitting(experiment, uri, arguments.check) for experiment in experiments]
    if not all(fits):
        raise UserError(f"of {len(fits)} experiments of DVC, {fits.count(False)} not as MLflow shows them")


def fitting(experiment: Experiment, uri: str | None, check: bool) -> bool:
    """Whether an experiment and its run fit; an old one that cannot be read holds up no other."""
    try:
        return compare(experiment, uri, check)
    except NotReachedError as error:
        raise UserError(f"MLflow at {uri or 'mlruns'}: {error}") from error
    except (UserError, NotSentError, MlflowException, DvcException, LookupError, ValueError, OSError) as error:
        print(f"{experiment}: cannot be compared: {reason(error)}")
        return False


def compare(experiment: Experiment, uri: str | None, check: bool) -> bool:
    """Print how a DVC experiment and its run fit, and whether they do; without `check` make a run that is missing."""
    if not experiment.finished:
        print(f"{experiment}: not finished, or not in DVC's cache (dvc pull fetches it)")
        return True
    client, said = connect(uri), "as in run"
    if run_of(experiment, client) is None and not check:
        journal, said = restore(experiment, uri), "restored from DVC as run"
        with suppress(FileNotFoundError), journal.sending():  # another process may send it all first
            send(journal)
    run = run_of(experiment, client)
    faults = differences(experiment, run) if run else ["MLflow has no run of it; python -m stages.sync makes one"]
    print("\n  ".join([f"{experiment}: differs", *faults]) if faults else f"{experiment}: {said} {run.info.run_id}")
    return not faults


def follow(key: str, system_metrics: bool) -> None:
    """Send a journal while a stage writes it, which closes this process's stdin when it ends, in whatever way."""
    journal = open_journal(key)
    if journal is not None:
        with suppress(FileNotFoundError), journal.sending():  # when the stage before has sent what it told
            with sampled(journal, system_metrics):
                send_while_written(journal)
            journal.close_if_killed()
            try:
                send(journal)
            except NotSentError as error:
                print(f"{key}: {error}")
    send_waiting()


def send_while_written(journal: Journal) -> None:
    next_try = time.monotonic()
    while not select.select([sys.stdin], [], [], SECONDS_BETWEEN_LOOKS)[0]:
        if time.monotonic() < next_try:
            continue
        try:
            send(journal)
        except NotSentError:
            next_try = time.monotonic() + SECONDS_AFTER_FAILURE


def send_waiting() -> int:
    """Send all journals that nobody sends, and return how many could not be; a store that is down is tried once."""
    failed, down = 0, set()
    remove_gone()
    for journal in journals():
        name, uri = f"{journal.head.get('name')} ({journal.key})", journal.head.get("uri")
        if uri in down:
            failed += 1
            continue
        try:
            with suppress(Timeout, FileNotFoundError), journal.sending(timeout=0):
                journal.close_if_killed()
                if journal.waiting():
                    print(f"{name}: {send(journal)} events sent to MLflow")
        except (NotSentError, OSError) as error:
            failed += 1
            print(f"{name}: {journal.waiting()} events not sent: {reason(error)}")
            if isinstance(error, NotReachedError):
                down.add(uri)
    return failed


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.sync", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare DVC's experiments with MLflow's runs")
    parser.add_argument("--follow", metavar="KEY", help="send one run while a stage writes it (what stages start)")
    parser.add_argument("--system-metrics", action="store_true", help="with --follow: sample CPU, memory, disk, GPU")
    return parser.parse_args()


if __name__ == "__main__":
    with telling_faults("sync"):
        main()
