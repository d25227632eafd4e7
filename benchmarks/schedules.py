"""Validation by epochs, learning rate and number of training rows: what `auto` of both params was chosen by.

python -m benchmarks.schedules [--rows 100 400 1000] [--steps 1 60 125 250] [--rates 2e-4] [--draws 2]

Trains with the params and the prepared data of this checkout (`dvc repro preprocess`), on stratified samples of the
training rows: for the fewest complete epochs that have so many steps. Each draw has other rows and another seed.
Prints a Markdown table of the best of two validations: accuracy, its loss, and seconds, means over the draws.
"""

import argparse
import math
from statistics import mean

import numpy as np

from stages.core.arguments import count
from stages.core.params import Params
from stages.core.stage import report_errors
from stages.data.sampling import stratified_sample
from stages.training.trials import Trials


def main() -> None:
    options = parse_arguments()
    params = Params.load()
    trials = Trials.open(params.cache)
    print("| rows | epochs | steps | learning rate | accuracy | loss | seconds |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for size in options.rows:
        steps = math.ceil(size / params.train.per_device_train_batch_size)  # of an epoch
        for epochs in sorted({math.ceil(wanted / steps) for wanted in options.steps}):
            for rate in options.rates:
                scores = [measure(trials, params, size, epochs, rate, draw) for draw in range(options.draws)]
                accuracy, loss, seconds = map(mean, zip(*scores, strict=True))
                start = f"| {size:,} | {epochs} | {epochs * steps:,} | {rate:g} "
                print(f"{start}| {accuracy:.3f} | {loss:.2f} | {seconds:.1f} |", flush=True)


def measure(
    trials: Trials, params: Params, size: int, epochs: int, rate: float, draw: int
) -> tuple[float, float, float]:
    """Accuracy and loss of the better of two validations, and the seconds of the training."""
    rows = trials.prepare(params.train, draw).inputs.rows["train"]
    chosen = np.sort(stratified_sample(rows.labels, size, draw))
    changes = {"train.num_train_epochs": float(epochs), "train.learning_rate": rate, "train.eval_steps": 0.5}
    training = trials.run(params.change_train(changes).train, draw, {"train": chosen})
    return training.best["accuracy"], training.best["loss"], training.seconds


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedules", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=count, nargs="+", default=[100, 400, 1000])
    parser.add_argument("--steps", type=count, nargs="+", default=[1, 60, 125, 250], help="1: one epoch")
    parser.add_argument("--rates", type=float, nargs="+", default=[2e-4], help="learning rates")
    parser.add_argument("--draws", type=count, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("benchmarks.schedules"):
        main()
