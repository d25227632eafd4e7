"""Texts a second of `stages.predict` on 1,000 texts of mixed lengths, against transformers' pipeline in batches of 32.

python -m benchmarks.predicting [--repeats 5] [--model models/classifier]
"""

import argparse
import random
import time
from functools import partial
from pathlib import Path
from statistics import median

import torch
from transformers import pipeline

from stages.core.hardware import cpu_name, describe_processor, gpu_names
from stages.core.memory import keep_freed_memory
from stages.data.demo_corpus import make_reviews
from stages.inference.predictor import Predictor

TEXTS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predicting", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", type=Path, default=Path("models/classifier"))
    arguments = parser.parse_args()
    keep_freed_memory()
    texts = mixed_texts()
    plain = pipeline("text-classification", str(arguments.model), device=0 if torch.cuda.is_available() else "cpu")
    ways = {"pipeline(texts, batch_size=32), fp32": lambda texts: plain(texts, batch_size=32, truncation=True)}
    for precision in dict.fromkeys(("fp32", Predictor(arguments.model).precision)):
        predictor = Predictor(arguments.model, precision)
        ways[f"stages.predict, {precision}"] = partial(answer, predictor)
    seconds = measure(ways, texts, arguments.repeats)
    print(f"{gpu_names() or cpu_name()} ({describe_processor()}), {TEXTS:,} texts, medians of {arguments.repeats}")
    naive = seconds["pipeline(texts, batch_size=32), fp32"]
    for name, (wall, cpu) in seconds.items():
        ratios = f"{naive[0] / wall:.1f} and {naive[1] / cpu:.1f} times less"
        print(f"{name:<38} {wall:6.1f} s, {cpu:6.1f} s of CPU: {ratios}")


def answer(predictor: Predictor, texts: list[str]) -> None:
    predictor.predict(texts, [""] * len(texts))


def mixed_texts() -> list[str]:
    """Texts of one to twelve demo reviews, the same each time."""
    chance, reviews = random.Random(0), [text for text, _ in make_reviews("test", 0)]
    return [" ".join(chance.sample(reviews, chance.choice((1, 1, 1, 2, 4, 12)))) for _ in range(TEXTS)]


def measure(ways: dict, texts: list[str], repeats: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each way, and of the CPU, which other work on the machine changes less.

    The ways take turns, after a short round that does not count.
    """
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way(texts if number else texts[:100])
            if number:
                seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: tuple(map(median, zip(*values, strict=True))) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
