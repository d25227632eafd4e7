"""Seconds of studies on cached features: a sweep, a learning curve, and label issues.

python -m benchmarks.studies --imdb aclImdb_v1.tar.gz [--trials 100]

MiniLM, five of six layers frozen, two epochs, 5,000 IMDB reviews of 128 tokens. The sweep begins without cached
features. With --plain it also trains plain `transformers.Trainer` on a tenth of the rows: a search with Optuna as its
documentation has it makes one such training for each trial. Prints a Markdown table.
"""

import argparse
import json
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.speed import run_python, write_params
from stages.core.files import read_json
from stages.core.yaml_files import read_yaml

ROWS = {"max_train_samples": 5000, "max_test_samples": 500}
SPACE = {
    "train.learning_rate": {"low": 5e-5, "high": 2e-3, "log": True},
    "train.weight_decay": {"low": 1e-3, "high": 0.1, "log": True},
    "train.label_smoothing_factor": {"low": 0.0, "high": 0.2},
    "train.lr_scheduler_type": {"choices": ["linear", "cosine"]},
}
TRAIN = {"freeze_layers": 5, "num_train_epochs": 2, "learning_rate": 5e-4, "eval_steps": 0.25}


def main() -> None:
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tracking = {"log_model": False, "system_metrics": False}
        data = {"source": "folder", "path": str(options.imdb.resolve())} | ROWS
        write_params(folder, {"data": data, "train": TRAIN, "tracking": tracking})
        params = read_yaml(folder / "params.yaml") | {"sweep": SPACE}
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        for stage in ("download", "base_model", "preprocess"):
            run_python(folder, "-m", f"stages.{stage}")
        print("| what | seconds | |\n|---|---:|---|", flush=True)
        cold = measure(folder, "train") + measure(folder, "evaluate")
        report("one run, nothing cached: train and evaluate", cold)
        shutil.rmtree(folder / ".cache")
        issues = measure(folder, "label_issues")
        report("label issues, 5 folds, nothing cached", issues, f"{issues / cold:.2f} runs")
        report("learning curve, 15 trainings", measure(folder, "learning_curve"))
        shutil.rmtree(folder / ".cache")
        sweep = measure(folder, "sweep", "--trials", str(options.trials), "--no-experiment")
        report(f"sweep, {options.trials} trials, features included", sweep)
        describe_trials(folder)
        if options.plain:
            measure_plain(folder, options.trials)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies", description=__doc__.splitlines()[0])
    parser.add_argument("--imdb", type=Path, required=True, help="the archive of the Large Movie Review Dataset")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--plain", action="store_true", help="also measure plain Trainer, on a tenth of the rows")
    return parser.parse_args()


def measure(folder: Path, module: str, *arguments: str) -> float:
    """Seconds of a command, with its imports."""
    started = time.perf_counter()
    run_python(folder, "-m", f"stages.{module}", *arguments)
    return time.perf_counter() - started


def report(what: str, seconds: float, note: str = "") -> None:
    print(f"| {what} | {seconds:.1f} | {note} |", flush=True)


def describe_trials(folder: Path) -> None:
    """How long trials take, and what they cost beside their training loops."""
    query = "SELECT value_json FROM trial_user_attributes JOIN trials USING (trial_id) JOIN studies USING (study_id) "
    query += "WHERE key = 'result' AND study_name LIKE 'sweep-%'"
    with closing(sqlite3.connect(folder / "mlruns/studies/studies.db")) as database:
        results: list[dict[str, Any]] = [json.loads(row[0]) for row in database.execute(query)]
    stopped = sum(result["stopped"] for result in results)
    report("a complete trial, median", median(one["seconds"] for one in results if not one["stopped"]))
    report("beside the training loop, median", median(one["seconds"] - one["loop_seconds"] for one in results))
    report("trials that were stopped early", stopped, "trials, not seconds")
    best = max(one["best"]["accuracy"] for one in results if one["best"])
    report("best accuracy on validation", best, f"{best:.4f}")


def measure_plain(folder: Path, trials: int) -> None:
    """Seconds of plain Trainer on a tenth of the rows, and what as many trials of all rows would take."""
    rows = {"max_train_samples": ROWS["max_train_samples"] // 10, "max_test_samples": 50}
    small = folder / "small"
    small.mkdir()
    shutil.copy(folder / "params.yaml", small)
    write_params(small, {"data": rows})
    for stage in ("download", "base_model", "preprocess"):
        run_python(small, "-m", f"stages.{stage}")
    run_python(
        small, "-m", "benchmarks.plain_trainer", str(small), str(small / "plain.json"), "--freeze", "5", "--precision",
        "bf16", "--learning-rate", "5e-4", "--group-by-length",
    )  # fmt: skip
    seconds = read_json(small / "plain.json")["training_seconds"]
    report("plain Trainer, a tenth of the rows", seconds)
    report(f"plain Trainer, {trials} trials of all rows", 10 * trials * seconds, "extrapolated, without pruning")


if __name__ == "__main__":
    main()
