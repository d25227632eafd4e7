"""Rows a second and peak memory of `download` and `preprocess` on a made-up CSV file, and on a tenth of it.

python -m benchmarks.many_rows [--rows 650000]
"""

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from stages.core.files import read_json
from stages.core.paths import PARAMS, TIMINGS
from stages.core.stage import STAGES
from stages.core.yaml_files import read_yaml
from stages.data.demo_corpus import make_reviews

REVIEWS_A_ROW = 4  # of the demo corpus: a row then has about 140 tokens, as a review of the Yelp data has
MEASURED = ("download", "preprocess")
RUN = STAGES[: STAGES.index("preprocess") + 1]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_rows", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=650_000)
    most = parser.parse_args().rows
    for rows in (most // 10, most):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            size = write_rows(folder, rows)
            write_params(folder)
            timings = run_stages(folder)
        for stage in MEASURED:
            print_timings(stage, rows, size, timings)


def write_rows(folder: Path, rows: int) -> int:
    """Write `rows.csv` and return its size in bytes."""
    rng = random.Random(0)
    reviews = make_reviews("train", 0)
    path = folder / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for _ in range(rows):
            chosen = rng.choices(reviews, k=REVIEWS_A_ROW)
            writer.writerow(("\n".join(text for text, _ in chosen), chosen[0][1]))
    return path.stat().st_size


def write_params(folder: Path) -> None:
    """Write the project's params, changed to read `rows.csv`."""
    params = read_yaml(PARAMS)
    params["data"] |= {"source": "csv", "path": "rows.csv", "max_train_samples": None, "max_test_samples": None}
    (folder / PARAMS).write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def run_stages(folder: Path) -> dict[str, float]:
    """Run the stages in the folder and return their timings."""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "DVC_ROOT": str(folder)}
    timings: dict[str, float] = {}
    for stage in RUN:
        command = [sys.executable, "-m", f"stages.{stage}"]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        timings |= read_json(folder / TIMINGS / f"{stage}.json")
    return timings


def print_timings(stage: str, rows: int, size: int, timings: dict[str, float]) -> None:
    seconds = timings[f"{stage}_seconds"]
    memory = timings[f"{stage}_peak_memory_mb"]
    print(
        f"{rows:>9,} rows ({size / 2**20:,.0f} MiB) through {stage}: {seconds:.0f} s, "
        f"{rows / seconds:,.0f} rows a second, peak memory {memory:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
