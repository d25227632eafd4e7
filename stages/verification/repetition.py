"""The repetition of a finished pipeline, with the commands of DVC."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.core.errors import UserError
from stages.core.paths import LOCK
from stages.verification.clone import clean_environment

LISTED_CHANGES = 5  # in the message about a pipeline that is not finished


def check_finished(stage: str | None) -> None:
    """UserError unless `dvc.lock` fits the present code, params and data; outputs may be missing on this machine.

    Only `stage` and the stages that it needs are checked, where it is given.
    """
    if not LOCK.is_file():
        raise UserError("dvc.lock: missing; run `dvc repro` first, there is nothing to compare with yet.")
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    if stage:
        command += ["--with-deps", stage]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"dvc status failed: {done.stderr.strip()}")
    changes = list(list_changes(json.loads(done.stdout)))
    if changes:
        listed = ", ".join(changes[:LISTED_CHANGES])
        more = f", and {len(changes) - LISTED_CHANGES} more" if len(changes) > LISTED_CHANGES else ""
        raise UserError(f"the pipeline is not finished, run `dvc repro` first. Changed: {listed}{more}.")


def list_changes(status: dict[str, list[Any]]) -> Iterator[str]:
    """Yield what has changed, from the JSON of `dvc status`; a missing output is not a change.

    For each stage it has a list of words such as "changed command", and of dicts such as
    `{"changed deps": {"params.yaml": {"seed": "modified"}, "data/raw": "modified"}}`.
    """
    for stage, changes in status.items():
        for change in changes:
            if isinstance(change, str):
                yield f"{change} ({stage})"
                continue
            for states in change.values():
                for name, state in states.items():
                    if state not in ("deleted", "not in cache"):
                        yield f"{', '.join(state) if isinstance(state, dict) else name} ({stage})"


def repeat_pipeline(clone: Path, stage: str | None) -> None:
    """Run `dvc repro` in the clone, up to `stage` where it is given; UserError when it fails."""
    command = [sys.executable, "-m", "dvc", "repro"]
    if stage:
        command.append(stage)
    done = subprocess.run(command, cwd=clone, env=clean_environment(clone), check=False)
    if done.returncode:
        raise UserError("dvc repro failed in the clone, see above. It has only files that git tracks (git add).")
