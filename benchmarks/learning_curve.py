"""How often the interval of a learning curve contains the score of a training with twice the rows.

python -m benchmarks.learning_curve --imdb aclImdb_v1.tar.gz [--repeats 10]

MiniLM, five of six layers frozen, two epochs, reviews of 128 tokens. Each repeat takes another half of IMDB's training
rows, trains on parts of it as `python -m stages.learning_curve` does, and compares its forecast with one training on
all rows, with another seed. Prints a Markdown table.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.speed import run_python, write_params
from stages.core.params import Params
from stages.data.sampling import stratified_sample
from stages.learning_curve import DRAW, ROWS, make_plan
from stages.studies.power_law import fit_power_law
from stages.training.trials import Trials

TRAIN = {"freeze_layers": 5, "num_train_epochs": 2, "learning_rate": 5e-4, "eval_steps": 0.5}
DRAWS = 3


def main() -> None:
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = {"source": "folder", "path": str(options.imdb.resolve()), "max_test_samples": 500}
        write_params(folder, {"data": data, "train": TRAIN})
        for stage in ("download", "base_model", "preprocess"):
            run_python(folder, "-m", f"stages.{stage}")
        os.chdir(folder)
        params = Params.load()
        trials = Trials.open(params.cache)
        labels = trials.prepare(params.train, params.seed).inputs.rows["train"].labels
        print("| repeat | half of the rows | forecast | 95 % interval | all rows | inside |\n|---|---|---|---|---|---|")
        inside = [measure(trials, params, labels, repeat) for repeat in range(options.repeats)]
        print(f"\n{sum(inside)} of {len(inside)} inside; {len(labels):,} rows")


def measure(trials: Trials, params: Params, labels: np.ndarray, repeat: int) -> bool:
    """Whether the forecast from half of the rows is right; prints its line of the table."""
    half = stratified_sample(labels, len(labels) // 2, repeat)
    plan = make_plan(len(half), len(trials.labels), DRAWS)
    seeds = [(DRAWS + 1) * repeat + part[DRAW] for part in plan]
    scores = []
    for part, seed in zip(plan, seeds, strict=True):
        chosen = half[stratified_sample(labels[half], part[ROWS], seed)]
        scores.append(train(trials, params, seed, chosen))
    law = fit_power_law(np.array([part[ROWS] for part in plan]), np.array(scores), False, repeat)
    rows = np.array([len(labels)])
    (low,), (high,) = law.interval(rows)
    forecast, measured = law.predict(rows)[0], train(trials, params, max(seeds) + 1, None)
    is_inside = bool(low <= measured <= high)
    print(
        f"| {repeat} | {np.mean(scores[-DRAWS:]):.4f} | {forecast:.4f} | {low:.4f} to {high:.4f} | {measured:.4f} | "
        f"{'yes' if is_inside else 'no'} |",
        flush=True,
    )
    return is_inside


def train(trials: Trials, params: Params, seed: int, rows: np.ndarray | None) -> float:
    """Validation accuracy of a training."""
    return trials.run(params.train, seed, None if rows is None else {"train": rows}).best["accuracy"]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning_curve", description=__doc__.splitlines()[0])
    parser.add_argument("--imdb", type=Path, required=True, help="the archive of the Large Movie Review Dataset")
    parser.add_argument("--repeats", type=int, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    main()
