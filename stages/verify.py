"""Repeat a finished pipeline in a temporary clone, and say of each output whether its bytes are the same.

python -m stages.verify [--stage preprocess] [--keep]
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from stages.core.errors import UserError
from stages.core.hardware import cpu_name, describe_processor
from stages.core.params import Params
from stages.core.stage import report_errors
from stages.core.yaml_files import read_yaml
from stages.data.downloads import is_url
from stages.verification.clone import clean_environment, make_clone, temporary_folder
from stages.verification.diff import describe

LOCK = Path("dvc.lock")
NOT_COMPARED = {
    "metrics/timings/": "seconds and memory",
    "reports/report.html": "hardware and timings",
    "reports/report.md": "hardware and timings",
    "models/mlflow_run.json": "the id of a run",
    "data/source/": "stands for the source",
}
NOT_HERE = "what differs is not known, since the files that were expected are not here; dvc pull may bring them"


def main() -> bool:
    """Whether all outputs are identical."""
    arguments, started = parse_arguments(), time.time()
    require_finished(arguments.stage)
    with temporary_folder(arguments.keep) as folder:
        clone = make_clone(folder, local_paths(Params.load()))
        print(f"repeating the pipeline in {clone}\n")
        repeat(clone, arguments.stage)
        differing = compare(clone)
    print(f"\n{verdict(differing)}; {time.time() - started:.0f} s on {hardware()}")
    return not any(differing.values())


def require_finished(stage: str | None) -> None:
    """UserError unless the lock is of the present code, params and data; outputs that are not here may be missing."""
    if not LOCK.is_file():
        raise UserError("dvc.lock: missing; run `dvc repro` first, there is nothing yet to compare with.")
    command = [sys.executable, "-m", "dvc", "status", "--json", *(["--with-deps", stage] if stage else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"dvc status failed: {done.stderr.strip()}")
    changes = list(changed(json.loads(done.stdout)))
    if changes:
        more = f", and {len(changes) - 5} more" if len(changes) > 5 else ""
        raise UserError(
            f"the pipeline is not finished, run `dvc repro` first. Changed: {', '.join(changes[:5])}{more}."
        )


def changed(status: dict[str, list[Any]]) -> Iterator[str]:
    """What DVC's status says has changed, in words."""
    for stage, changes in status.items():
        for change in changes:
            entries = (
                {change: ""} if isinstance(change, str) else {k: v for part in change.values() for k, v in part.items()}
            )
            for name, state in entries.items():
                if state not in ("deleted", "not in cache"):
                    yield f"{', '.join(state) if isinstance(state, dict) else name} ({stage})"


def local_paths(params: Params) -> list[str]:
    """The paths on this machine that params may name."""
    return [path for path in (params.data.path, params.model.name) if path and not is_url(path)]


def repeat(clone: Path, stage: str | None) -> None:
    command = [sys.executable, "-m", "dvc", "repro", *([stage] if stage else [])]
    done = subprocess.run(command, cwd=clone, env=clean_environment(clone), check=False)
    if done.returncode:
        raise UserError("dvc repro failed in the clone, see above. Only files that git tracks are in it (git add).")


def compare(clone: Path) -> dict[str, bool]:
    """Print of each output that was made again whether its bytes are the same; return which differ."""
    expected, found = read_outputs(LOCK), read_outputs(clone / LOCK)
    differing = {}
    for path, (stage, checksum) in found.items():
        if path.startswith(tuple(NOT_COMPARED)):
            continue
        differing[path] = expected[path][1] != checksum
        print(f"{stage:<10}  {path:<28}  {'differs' if differing[path] else 'identical'}")
        if differing[path]:
            lines = describe(Path(path), clone / path) if Path(path).exists() else [NOT_HERE]
            print("".join(f"{'':<14}{line}\n" for line in lines), end="")
    print("not compared: " + ", ".join(f"{path.rstrip('/')} ({why})" for path, why in NOT_COMPARED.items()))
    return differing


def read_outputs(lock: Path) -> dict[str, tuple[str, str]]:
    """Stage and checksum of each output in a `dvc.lock`."""
    stages = read_yaml(lock)["stages"]
    return {out["path"]: (stage, out["md5"]) for stage, entry in stages.items() for out in entry.get("outs", [])}


def verdict(differing: dict[str, bool]) -> str:
    count = sum(differing.values())
    return f"{count} of {len(differing)} outputs differ" if count else f"all {len(differing)} outputs are identical"


def hardware() -> str:
    """What the bytes of trained weights may depend on."""
    return f"{cpu_name()}, {describe_processor()}, torch {torch.__version__}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.verify", description=__doc__.splitlines()[0])
    parser.add_argument("--stage", help="only this stage of dvc.yaml, and those that it needs (default: all)")
    parser.add_argument("--keep", action="store_true", help="keep the clone, and say where it is")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("verify"):
        sys.exit(0 if main() else 1)
