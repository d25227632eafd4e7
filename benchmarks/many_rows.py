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
from stages.core.yaml_files import read_yaml
from stages.data.demo_corpus import make_reviews

REVIEWS_A_ROW = 4  # of the demo corpus, so that a row has about 140 tokens, as a review of the Yelp data has
STAGES = ("download", "base_model", "preprocess")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_rows", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=650_000)
    most = parser.parse_args().rows
    for rows in (most // 10, most):
        with tempfile.TemporaryDirectory() as folder:
            size = write_rows(Path(folder), rows)
            timings = run_stages(Path(folder))
        for stage in ("download", "preprocess"):
            seconds, memory = timings[f"{stage}_seconds"], timings[f"{stage}_peak_memory_mb"]
            print(
                f"{rows:>9,} rows ({size / 2**20:,.0f} MiB) through {stage}: {seconds:.0f} s, "
                f"{rows / seconds:,.0f} rows a second, peak memory {memory:,.0f} MiB"
            )


def write_rows(folder: Path, rows: int) -> int:
    """Write `rows.csv` and the params that read it; return its size in bytes."""
    rng, reviews = random.Random(0), make_reviews("train", 0)
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for _ in range(rows):
            chosen = rng.choices(reviews, k=REVIEWS_A_ROW)
            writer.writerow(("\n".join(text for text, _ in chosen), chosen[0][1]))
    params = read_yaml(Path("params.yaml"))
    params["data"] |= {"source": "csv", "path": "rows.csv", "max_train_samples": None, "max_test_samples": None}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    return (folder / "rows.csv").stat().st_size


def run_stages(folder: Path) -> dict[str, float]:
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "DVC_ROOT": str(folder)}
    for stage in STAGES:
        command = [sys.executable, "-m", f"stages.{stage}"]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    files = [read_json(folder / f"metrics/timings/{stage}.json") for stage in STAGES]
    return {key: value for timings in files for key, value in timings.items()}


if __name__ == "__main__":
    main()
