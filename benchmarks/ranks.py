"""One process with two threads against two processes with one thread each, on the same two cores: seconds and accuracy.

python -m benchmarks.ranks [--runs 3] [-S data.max_train_samples=1000 ...]

Works in a temporary clone; the ways alternate, each run has a seed of its own. With GPUs it compares one GPU with two.
Prints a Markdown table: medians of the seconds of frozen features and of the training loop, means of the accuracy.
"""

import argparse
import os
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stages.core.files import read_json
from stages.core.params import Params
from stages.core.paths import PARAMS, TEST_HEADLINES, TIMINGS
from stages.core.yaml_files import read_yaml
from stages.verification.clone import clean_environment, list_local_paths, make_clone, temporary_folder


class Way(NamedTuple):
    """How `train` is started."""

    name: str
    launch: str
    threads: int


WAYS = (
    Way("1 process, 2 threads", "python", 2),
    Way("2 processes, 1 thread each", "torchrun --standalone --nproc_per_node 2", 1),
)
CASES: dict[str, dict[str, Any]] = {
    "all layers frozen": {"train.freeze_layers": "all"},
    "all layers trained": {"train.freeze_layers": 0, "train.num_train_epochs": 1},
}


def main() -> None:
    arguments = parse_arguments()
    results: dict[tuple[str, Way], list[tuple[float, float, float]]] = {}
    with temporary_folder(keep=False) as folder:
        params = Params.load()
        changes = dict(change.split("=", 1) for change in arguments.set)
        paths = [changes[key] for key in ("data.path", "model.name") if key in changes]
        clone = make_clone(folder, [*list_local_paths(params.data, params.model), *paths])
        write_params(clone, {key: yaml.safe_load(value) for key, value in changes.items()})
        run(clone, "dvc", "repro", "-q", "preprocess")
        for seed in range(arguments.runs):
            for case, settings in CASES.items():
                write_params(clone, settings | {"train.seed": seed})
                for way in WAYS:
                    results.setdefault((case, way), []).append(measure(clone, way))
    print_table(results)


def write_params(clone: Path, changes: dict[str, Any]) -> None:
    """Change dotted keys in the clone's params.yaml."""
    params = read_yaml(clone / PARAMS)
    for key, value in changes.items():
        section, name = key.split(".")
        params[section][name] = value
    (clone / PARAMS).write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def measure(clone: Path, way: Way) -> tuple[float, float, float]:
    """Train and evaluate from nothing: seconds of the features, seconds of the loop, and the test accuracy."""
    for name in ("frozen", "checkpoints"):
        shutil.rmtree(clone / ".cache" / name, ignore_errors=True)
    variables = {"LAUNCH": way.launch, "OMP_NUM_THREADS": str(way.threads)}
    for stage in ("train", "evaluate"):
        run(clone, "dvc", "repro", "-q", "--no-run-cache", "--force", "--single-item", stage, **variables)
    timings = read_json(clone / TIMINGS / "train.json")
    accuracy = read_json(clone / TEST_HEADLINES)["accuracy"]
    return timings["train_frozen_seconds"], timings["train_loop_seconds"], accuracy


def run(clone: Path, *command: str, **variables: str) -> None:
    """Run a command in the clone; SystemExit with its output when it fails."""
    environment = clean_environment(clone) | {"CHECKPOINT_SECONDS": "3600"} | variables
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def print_table(results: dict[tuple[str, Way], list[tuple[float, float, float]]]) -> None:
    print(f"{os.cpu_count()} cores; medians of seconds, means of accuracy\n")
    print("| | | features, seconds | training loop, seconds | test accuracy | runs |\n|---|---|---:|---:|---:|---:|")
    for (case, way), values in results.items():
        features, loops, accuracies = zip(*values, strict=True)
        shown = " to ".join(f"{value:.3f}" for value in (min(accuracies), max(accuracies)))
        print(
            f"| {case} | {way.name} | {statistics.median(features):.1f} | {statistics.median(loops):.1f} | "
            f"{statistics.mean(accuracies):.3f} ({shown}) | {len(values)} |"
        )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "-S", "--set", action="append", default=[], metavar="KEY=VALUE", help="a param, as in dvc exp run"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
