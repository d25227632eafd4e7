"""Seconds of studies on cached features: a sweep, a learning curve, and label issues.

python -m benchmarks.studies --imdb aclImdb_v1.tar.gz [--trials 100]

MiniLM, five of six layers frozen, two epochs, 5,000 IMDB reviews of 128 tokens. The sweep begins without cached
features. With --plain it also trains plain `transformers.Trainer` once, with the params of the first trial: a search
with Optuna as its documentation has it makes one such training for each trial. Prints a Markdown table.
"""

import argparse
import json
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.speed import run_python, write_params
from stages.core.files import read_json
from stages.core.hardware import resolve_precision
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
    parser.add_argument("--plain", action="store_true", help="also train plain Trainer once")
    return parser.parse_args()


def measure(folder: Path, module: str, *arguments: str) -> float:
    """Seconds of a command, with its imports."""
    started = time.perf_counter()
    run_python(folder, "-m", f"stages.{module}", *arguments)
    return time.perf_counter() - started


def report(what: str, seconds: float, note: str = "") -> None:
    print(f"| {what} | {seconds:.2f} | {note} |", flush=True)


def describe_trials(folder: Path) -> None:
    """How long trials take, and what they cost beside their training loops."""
    query = "SELECT datetime_start, value_json FROM trials JOIN studies USING (study_id) JOIN trial_user_attributes "
    query += "USING (trial_id) WHERE key = 'result' AND study_name LIKE 'sweep-%' ORDER BY number"
    with closing(sqlite3.connect(folder / "mlruns/studies/studies.db")) as database:
        rows = [(datetime.fromisoformat(start), json.loads(text)) for start, text in database.execute(query)]
    results: list[dict[str, Any]] = [result for _, result in rows]
    complete = [result for result in results if not result["stopped"]]
    stopped = [result for result in results if result["stopped"]]
    accuracies = [result["best"]["accuracy"] for result in complete]
    note = f"validation accuracy {accuracies[0]:.4f} of the first, {max(accuracies):.4f} of the best"
    report("a complete trial, median", median(one["seconds"] for one in complete), f"{len(complete)} trials, {note}")
    if stopped:
        report("a trial stopped early, median", median(one["seconds"] for one in stopped), f"{len(stopped)} trials")
    beside = [
        (following - start).total_seconds() - result["loop_seconds"]
        for (start, result), (following, _) in pairwise(rows)
    ]
    report("a trial beside its training loop, median", median(beside), "until the next trial starts")


def measure_plain(folder: Path, trials: int) -> None:
    """Seconds of one training with plain Trainer, and what as many trials would take."""
    precision = resolve_precision("train.precision", "auto")
    run_python(
        folder, "-m", "benchmarks.plain_trainer", str(folder), str(folder / "plain.json"), "--freeze", "5",
        "--precision", precision, "--learning-rate", "5e-4", "--group-by-length",
    )  # fmt: skip
    result = read_json(folder / "plain.json")
    seconds, accuracy = result["training_seconds"], result["validation_accuracy"]
    report("plain Trainer, one training", seconds, f"validation accuracy {accuracy:.4f}")
    report(f"plain Trainer, {trials} trainings", trials * seconds, "extrapolated, without pruning")


if __name__ == "__main__":
    main()
