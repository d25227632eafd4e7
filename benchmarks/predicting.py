"""Texts per second of `stages.predict` on 1,000 texts of mixed lengths, compared with transformers' pipeline.

python -m benchmarks.predicting [--repeats 5] [--model models/classifier]
"""

import argparse
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from transformers import TextClassificationPipeline, pipeline

from stages.core.hardware import cpu_name, describe_processor, gpu_name
from stages.core.memory import keep_freed_memory
from stages.core.paths import CLASSIFIER
from stages.data.demo_corpus import make_reviews
from stages.inference.predictor import Predictor

TEXTS = 1000
PLAIN = "pipeline(texts, batch_size=32), fp32"
Method = Callable[[list[str]], None]


def main() -> None:
    arguments = parse_arguments()
    keep_freed_memory()
    plain = pipeline("text-classification", str(arguments.model), device=0 if torch.cuda.is_available() else "cpu")
    methods: dict[str, Method] = {PLAIN: partial(predict_plain, plain)}
    for precision in dict.fromkeys(("fp32", Predictor(arguments.model).precision)):
        methods[f"stages.predict, {precision}"] = partial(predict_ours, Predictor(arguments.model, precision))
    seconds = measure(methods, make_texts(), arguments.repeats)
    print(f"{gpu_name() or cpu_name()} ({describe_processor()}), {TEXTS:,} texts, medians of {arguments.repeats}")
    plain_wall, plain_cpu = seconds[PLAIN]
    for name, (wall, cpu) in seconds.items():
        ratios = f"{plain_wall / wall:.1f} and {plain_cpu / cpu:.1f} times less"
        print(f"{name:<38} {wall:6.1f} s, {cpu:6.1f} s of CPU: {ratios}")


def predict_plain(plain: TextClassificationPipeline, texts: list[str]) -> None:
    plain(texts, batch_size=32, truncation=True)


def predict_ours(predictor: Predictor, texts: list[str]) -> None:
    predictor.predict(texts, [""] * len(texts))


def make_texts() -> list[str]:
    """Texts of one to twelve demo reviews, the same each time."""
    chance, reviews = random.Random(0), [text for text, _ in make_reviews("test", 0)]
    return [" ".join(chance.sample(reviews, chance.choice((1, 1, 1, 2, 4, 12)))) for _ in range(TEXTS)]


def measure(methods: dict[str, Method], texts: list[str], repeats: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each method, of the clock and of the CPU; other work on the machine affects the latter less.

    The methods run in turn, after a short first round that does not count.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for number in range(repeats + 1):
        for name, predict in methods.items():
            wall, cpu = time.perf_counter(), time.process_time()
            predict(texts if number else texts[:100])
            if number:
                seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: (median(wall for wall, _ in values), median(cpu for _, cpu in values)) for name, values in seconds.items()
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predicting", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", type=Path, default=CLASSIFIER)
    return parser.parse_args()


if __name__ == "__main__":
    main()
