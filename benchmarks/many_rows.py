"""What many made-up rows cost: `download`, `preprocess`, and DVC's cache of their outputs. Nothing is kept.

python -m benchmarks.many_rows [--rows 650000] [--length long]
python -m benchmarks.many_rows --rows 10000000 --length short    # 5 GB of disk, a quarter of an hour

A tenth of the rows is measured too: the difference says how much memory each row takes.
"""

import argparse
import csv
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import yaml

from stages.core.files import read_json
from stages.core.paths import PARAMS, RAW, TIMINGS, TOKENIZED
from stages.core.stage import STAGES
from stages.core.yaml_files import read_yaml
from stages.data.demo_corpus import make_reviews

LENGTHS = {  # of the demo corpus
    "long": 4,  # reviews a row: about 140 tokens, as a review of the Yelp data has
    "short": 2,  # sentences a row, with a number: about 25 tokens, as a short message has; all rows are different
}
MEASURED = ("download", "preprocess")
RUN = STAGES[: STAGES.index("preprocess") + 1]
SECONDS_BETWEEN_LOOKS = 0.2  # at the disk


class Step(NamedTuple):
    """What was measured of a stage or a command of DVC."""

    name: str
    rows: int
    seconds: float
    memory: float | None  # MiB at the peak
    read: int  # bytes
    written: int  # bytes, which stay
    most: int  # bytes that were on disk at once while it ran, besides those before


def main() -> None:
    most, length = parse_arguments()
    steps = []
    for rows in (most // 10, most):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_rows(folder, rows, length)
            write_params(folder)
            steps += run_stages(folder, rows)
            steps += cache_outputs(folder, rows)
    print_table(steps)
    for stage in MEASURED:
        print_growth(stage, steps)


def parse_arguments() -> tuple[int, str]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_rows", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=650_000)
    parser.add_argument("--length", choices=LENGTHS, default="long", help="of a row: about 140 tokens, or 25")
    arguments = parser.parse_args()
    return arguments.rows, arguments.length


def write_rows(folder: Path, rows: int, length: str = "long") -> None:
    """Write `rows.csv`: made-up rows with the label of their first review or sentence."""
    rng = random.Random(0)
    parts = make_reviews("train", 0)
    if length == "short":
        parts = [(sentence, label) for text, label in parts for sentence in re.split(r"(?<=[.!?]) ", text)]
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for number in range(rows):
            texts, labels = zip(*rng.choices(parts, k=LENGTHS[length]), strict=True)
            writer.writerow(("\n".join(texts) if length == "long" else f"{' '.join(texts)} No. {number}", labels[0]))


def write_params(folder: Path) -> None:
    """Write the project's params, changed to read `rows.csv`."""
    params = read_yaml(PARAMS)
    params["data"] |= {"source": "csv", "path": "rows.csv", "max_train_samples": None, "max_test_samples": None}
    (folder / PARAMS).write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def run_stages(folder: Path, rows: int) -> list[Step]:
    """Run the stages in the folder; what `download` and `preprocess` took."""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "DVC_ROOT": str(folder)}
    most = {stage: run([sys.executable, "-m", f"stages.{stage}"], folder, environment)[1] for stage in RUN}
    sizes = [count_bytes(path) for path in (folder / "rows.csv", folder / RAW, folder / TOKENIZED)]
    steps = []
    for stage, read, written in zip(MEASURED, sizes, sizes[1:], strict=False):
        timings = read_json(folder / TIMINGS / f"{stage}.json")
        seconds, memory = timings[f"{stage}_seconds"], timings[f"{stage}_peak_memory_mb"]
        steps.append(Step(stage, rows, seconds, memory, read, written, most[stage]))
    return steps


def cache_outputs(folder: Path, rows: int) -> list[Step]:
    """Let DVC hash and keep what the stages wrote, as `dvc repro` does after each stage, then look at it again."""
    cache = folder / ".dvc"
    environment = os.environ | {"DVC_SITE_CACHE_DIR": str(cache / "site"), "DVC_NO_ANALYTICS": "1"}
    outputs = [str(RAW), str(TOKENIZED)]
    size = sum(count_bytes(folder / output) for output in outputs)
    run(["dvc", "init", "--no-scm", "--quiet"], folder, environment)
    steps = []
    for command, *arguments in (["add", *outputs], ["status"]):
        before = count_bytes(cache)
        seconds, most = run(["dvc", command, "--quiet", *arguments], folder, environment)
        steps.append(Step(f"`dvc {command}`", rows, seconds, None, size, count_bytes(cache) - before, most))
    return steps


def run(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, int]:
    """Run a command in the folder; its seconds, and the most bytes that were there at once, besides those before."""
    before = most = count_bytes(folder)
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            most = max(most, count_bytes(folder))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return time.perf_counter() - started, most - before


def count_bytes(path: Path) -> int:
    """The bytes of a file, or of all files in a folder; a file that has several names counts once."""
    sizes = {}
    folders = os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]
    for folder, _, names in folders:  # os.walk passes over a folder that a running process has removed
        for name in names:
            with suppress(FileNotFoundError):
                status = (Path(folder) / name).lstat()
                sizes[status.st_ino] = status.st_size
    return sum(sizes.values())


def print_table(steps: list[Step]) -> None:
    print("| step | rows | seconds | rows a second | peak memory, MiB | read, MB | written, MB | most on disk, MB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for step in steps:
        memory = "" if step.memory is None else f"{step.memory:,.0f}"
        sizes = " | ".join(f"{size / 1e6:,.0f}" for size in (step.read, step.written, step.most))
        speed = f"{step.seconds:,.1f} | {step.rows / step.seconds:,.0f}"
        print(f"| {step.name} | {step.rows:,} | {speed} | {memory} | {sizes} |")


def print_growth(stage: str, steps: list[Step]) -> None:
    """How much memory each row takes, by the measurements of few rows and of many."""
    few, many = (step for step in steps if step.name == stage)
    growth = ((many.memory or 0) - (few.memory or 0)) * 2**20 / (many.rows - few.rows)
    print(f"{stage}: {growth:.0f} bytes of memory for each further row")


if __name__ == "__main__":
    main()
