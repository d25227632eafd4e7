"""Rows a second that `stages.predict --parquet`, Spark and Ray label, with the same model on the same two cores.

python -m benchmarks.labelling [--rows 8000] [--repeats 3] [--model models/classifier] [--precision fp32]

Engines that are not installed are left out; `make test-engines` installs them in .venv-engines. Seconds are those of
the whole command. Rows a second are without its start: the same command for a few rows is subtracted.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import mlflow.pyfunc
import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.hardware import cpu_name
from stages.core.paths import CLASSIFIER
from stages.data.demo_corpus import make_reviews
from stages.tracking.signature import make_signature

CORES = 2
FILES = 8  # for each size of input
FEW = 80  # rows, ten a file, of the commands that are subtracted
ENGINES = {"pyspark": "label_on_spark.py", "ray": "label_on_ray.py"}
EXAMPLE = ["The plot is thin, but I laughed all the way through."]
Command = tuple[list[str], int, int]  # its words but for input and output, how many processes, threads of each


def main() -> None:
    arguments = parse_arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # which processes that it starts inherit
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for rows in (FEW, arguments.rows):
            write_reviews(folder / str(rows), rows)
        commands = find_commands(arguments, save_model(arguments, folder / "model"))
        seconds = measure(commands, folder, arguments)
    print(f"{cpu_name()}, {CORES} cores, {arguments.rows:,} reviews in {FILES} files, {arguments.precision}")
    print(f"medians of {arguments.repeats}, alternating; the labels are equal\n")
    print_table(seconds, arguments.rows)


def write_reviews(folder: Path, rows: int) -> None:
    """Files of demo reviews, the same each time, with their numbers."""
    folder.mkdir()
    reviews = [text for text, _ in make_reviews("train", 0)]
    texts = [reviews[number % len(reviews)] for number in range(rows)]
    for number in range(FILES):
        ids = list(range(number, rows, FILES))
        pq.write_table(pa.table({"id": ids, "text": texts[number::FILES]}), folder / f"{number}.parquet")


def save_model(arguments: argparse.Namespace, path: Path) -> Path:
    """The model as MLflow keeps it in each run."""
    mlflow.pyfunc.save_model(
        path, python_model="stages/inference/served_model.py", code_paths=["stages"],
        artifacts={"classifier": str(arguments.model)}, model_config={"precision": arguments.precision},
        signature=make_signature(EXAMPLE, False), pip_requirements=["mlflow", "torch", "transformers"],
    )  # fmt: skip
    return path


def find_commands(arguments: argparse.Namespace, model: Path) -> dict[str, Command]:
    """The commands by their names in the table; those of engines that are not installed are left out, and named."""
    ours = ["-m", "stages.predict", "--model", str(arguments.model), "--precision", arguments.precision, "--parquet"]
    commands: dict[str, Command] = {
        "stages.predict, two processes": (ours, 2, 1),
        "stages.predict, one process with two threads": (ours, 1, 2),
    }
    for package, example in ENGINES.items():
        if not find_spec(package):
            print(f"{package} is not installed, and left out")
            continue
        options = ["--model", str(model), *(["--actors", str(CORES)] if package == "ray" else [])]
        name = f"{package} {version(package)}, {'two actors' if package == 'ray' else 'local[2]'}"
        commands[name] = ([f"examples/{example}", *options], 1, 1)
    return commands


def measure(
    commands: dict[str, Command], folder: Path, arguments: argparse.Namespace
) -> dict[str, tuple[float, float]]:
    """Median seconds of each command, for all rows and for a few; the commands run in turn."""
    seconds: dict[tuple[str, int], list[float]] = {}
    expected: list[Any] = []
    for repeat in range(arguments.repeats):
        for place, (name, command) in enumerate(commands.items()):
            for rows in (FEW, arguments.rows):
                out = folder / f"{repeat}-{place}-{rows}"
                seconds.setdefault((name, rows), []).append(run(command, folder / str(rows), out))
            labels = pq.read_table(out).sort_by("id")["label"].to_pylist()
            expected = expected or labels
            differing = sum(one != other for one, other in zip(labels, expected, strict=True))
            assert not differing, f"{name}: {differing} labels differ"
    return {name: (median(seconds[name, arguments.rows]), median(seconds[name, FEW])) for name in commands}


def run(command: Command, source: Path, out: Path) -> float:
    """Seconds until all processes of the command have ended."""
    words, processes, threads = command
    places = [str(source), str(out)] if words[0].startswith("examples/") else [str(source), "--out", str(out)]
    variables = {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": ".",
        "STAGES_WARM": "",  # each starts by itself
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": f"--master local[{CORES}] --conf spark.ui.enabled=false pyspark-shell",
        "SPARK_LOCAL_IP": "127.0.0.1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    start = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        started = [
            subprocess.Popen([sys.executable, *words, *places], env=os.environ | variables, stdout=log, stderr=log)
            for _ in range(processes)
        ]
        codes = [process.wait() for process in started]
        seconds = time.perf_counter() - start
        log.seek(0)
        assert not any(codes), log.read().decode()[-5000:]
    return seconds


def print_table(seconds: dict[str, tuple[float, float]], rows: int) -> None:
    print("| | seconds | of these to start | rows a second |\n|---|---:|---:|---:|")
    for name, (all_rows, few) in seconds.items():
        print(f"| {name} | {all_rows:.1f} | {few:.1f} | {(rows - FEW) / (all_rows - few):,.0f} |")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labelling", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", type=Path, default=CLASSIFIER)
    parser.add_argument("--precision", default="fp32")
    return parser.parse_args()


if __name__ == "__main__":
    main()
