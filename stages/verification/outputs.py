"""The outputs that a `dvc.lock` lists, compared with those of a repetition."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stages.core.paths import LOCK
from stages.core.yaml_files import read_yaml
from stages.verification.diff import describe_differences

# Outputs, or folders of outputs, whose bytes depend on more than params, data and code, with the reason.
NOT_COMPARED = {
    "metrics/timings/": "seconds and memory",
    "reports/report.html": "hardware and timings",
    "reports/report.md": "hardware and timings",
    "models/mlflow_run.json": "the id of a run",
    "data/source/": "stands for the source",
    "models/source": "stands for the source",
}
NOT_HERE = "how is not known, since the expected files are not on this machine; dvc pull may fetch them"


class LockedOutput(NamedTuple):
    """An output in a `dvc.lock`."""

    stage: str
    checksum: str  # DVC's MD5


class ComparedOutput(NamedTuple):
    """An output of a repetition; `differences` says how it differs from the expected one."""

    stage: str
    path: str
    is_identical: bool
    differences: list[str]


def read_outputs(lock: Path) -> dict[str, LockedOutput]:
    """The outputs of all stages in a `dvc.lock`, by path."""
    stages = read_yaml(lock)["stages"]
    return {
        output["path"]: LockedOutput(stage, output["md5"])
        for stage, entry in stages.items()
        for output in entry.get("outs", [])
    }


def compare_outputs(expected: Path, repeated: Path) -> Iterator[ComparedOutput]:
    """Compare each output that was made in the checkout `repeated` with that of the checkout `expected`."""
    expected_outputs = read_outputs(expected / LOCK)
    for path, output in read_outputs(repeated / LOCK).items():
        if path.startswith(tuple(NOT_COMPARED)):
            continue
        is_identical = output.checksum == expected_outputs[path].checksum
        if is_identical:
            differences = []
        elif (expected / path).exists():
            differences = describe_differences(expected / path, repeated / path)
        else:
            differences = [NOT_HERE]
        yield ComparedOutput(output.stage, path, is_identical, differences)
