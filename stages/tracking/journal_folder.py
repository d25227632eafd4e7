"""The journals of all runs in `mlruns/journal`: those that wait, that of a run, and the one that a stage continues."""

import shutil
import sys

from stages.tracking.journal import Journal, journals_folder


def list_journals() -> list[Journal]:
    """All journals, that of the oldest run first; a warning names those that cannot be read."""
    found = []
    for path in journals_folder().glob("[!.]*/events.jsonl"):
        journal = Journal(path.parent)
        if event := journal.start_event:
            found.append((event["time"], journal.key, journal))
        elif path.exists() and path.read_bytes():
            print(f"warning: {journal.folder}: broken, and cannot be sent; delete it", file=sys.stderr)
    return [journal for _, _, journal in sorted(found)]


def remove_partly_deleted() -> None:
    """Delete what is left of journals whose deletion was killed."""
    for folder in journals_folder().glob(".*"):
        shutil.rmtree(folder, ignore_errors=True)


def open_journal(key: str) -> Journal | None:
    """The journal of a run; None when it was sent and deleted, was created on another machine, or is broken."""
    journal = Journal(journals_folder() / key)
    return journal if journal.start_event else None


def find_unfinished(inputs: str) -> Journal | None:
    """The latest journal of a run that was created with these inputs and is not finished."""
    matching = [
        journal
        for journal in list_journals()
        if journal.start_event.get("inputs") == inputs and not journal.is_finished
    ]
    return matching[-1] if matching else None
