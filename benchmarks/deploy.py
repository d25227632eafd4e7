"""The exported model against torch: texts a second of short, mixed and long texts, and milliseconds for one text.

python -m benchmarks.deploy [--repeats 5] [--fp32 models/onnx-fp32] [--int8 models/onnx-int8]

The exports come from `python -m stages.export --out models/onnx-fp32` and `--int8 --out models/onnx-int8`. Labels are
compared with those of torch in fp32. Other work on the machine changes the numbers.
"""

import argparse
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from transformers import TextClassificationPipeline, pipeline

from stages.core.hardware import cpu_name, describe_processor, has_exact_int8
from stages.core.memory import keep_freed_memory
from stages.core.paths import CLASSIFIER
from stages.data.demo_corpus import make_reviews
from stages.inference.onnx_predictor import OnnxPredictor
from stages.inference.predictor import Predictor
from stages.inference.text_predictor import TextPredictor

REVIEWS = {"short": (1,), "mixed": (1, 1, 1, 2, 4, 12), "long": (12,)}  # how many a text is made of
TURN = 30  # texts that a method gets by themselves before the next method has its turn
PAUSE = 0.2  # seconds
Method = Callable[[list[str]], list[str]]
HEADER = "| | " + " | ".join(f"{kind}, texts/s" for kind in REVIEWS) + " | one text, median | p99 | equal labels |"


def main() -> None:
    arguments = parse_arguments()
    keep_freed_memory()
    texts = {kind: make_texts(counts, arguments.texts) for kind, counts in REVIEWS.items()}
    methods = make_methods(arguments)
    seconds, labels = measure_many(methods, texts, arguments.repeats)
    single = measure_single(methods, texts["mixed"][: arguments.single])
    integers = "with" if has_exact_int8() else "without"
    print(f"{cpu_name()} ({describe_processor()}, {integers} VNNI), {arguments.texts:,} texts of each kind, "
          f"medians of {arguments.repeats}\n")  # fmt: skip
    print(HEADER)
    print("|---" * (len(REVIEWS) + 4) + "|")
    for name in methods:
        speeds = " | ".join(f"{arguments.texts / median(seconds[name, kind]):,.0f}" for kind in REVIEWS)
        times = f"{median(single[name]) * 1000:.1f} ms | {np.quantile(single[name], 0.99) * 1000:.1f} ms"
        print(f"| {name} | {speeds} | {times} | {compare_labels(labels, name):.2%} |")


def make_methods(arguments: argparse.Namespace) -> dict[str, Method]:
    """What is compared, by name; torch in fp32, with whose labels the others are compared, is the first."""
    plain = pipeline("text-classification", str(arguments.model), device="cpu")
    predictors: dict[str, TextPredictor] = {"stages.predict, torch fp32": Predictor(arguments.model, "fp32")}
    as_today = Predictor(arguments.model)
    predictors[f"stages.predict, torch {as_today.precision}"] = as_today
    predictors |= {"ONNX fp32": OnnxPredictor(arguments.fp32), "ONNX int8": OnnxPredictor(arguments.int8)}
    methods: dict[str, Method] = {name: partial(predict_ours, one) for name, one in predictors.items()}
    return methods | {"transformers' pipeline, fp32": partial(predict_plain, plain)}


def predict_ours(predictor: TextPredictor, texts: list[str]) -> list[str]:
    return [str(answer.label) for answer in predictor.predict(texts, [""] * len(texts))]


def predict_plain(plain: TextClassificationPipeline, texts: list[str]) -> list[str]:
    return [answer["label"] for answer in plain(texts, batch_size=64, truncation=True)]


def make_texts(counts: tuple[int, ...], number: int) -> list[str]:
    """Texts of so many demo reviews each, the same each time."""
    chance, reviews = random.Random(0), [text for text, _ in make_reviews("test", 0)]
    return [" ".join(chance.sample(reviews, chance.choice(counts))) for _ in range(number)]


def measure_many(
    methods: dict[str, Method], texts: dict[str, list[str]], repeats: int
) -> tuple[dict[tuple[str, str], list[float]], dict[tuple[str, str], list[str]]]:
    """Seconds of each method for all texts of a kind, and its labels; they run in turn, the first round not counted."""
    seconds: dict[tuple[str, str], list[float]] = {(name, kind): [] for name in methods for kind in texts}
    labels = {}
    for number in range(repeats + 1):
        for kind, of_kind in texts.items():
            for name, predict in methods.items():
                start = time.perf_counter()
                labels[name, kind] = predict(of_kind)
                if number:
                    seconds[name, kind].append(time.perf_counter() - start)
    return seconds, labels


def measure_single(methods: dict[str, Method], texts: list[str]) -> dict[str, list[float]]:
    """Seconds of each method for each text by itself; the methods are in turn for a few texts.

    After each turn is a pause, because threads that wait for work are busy for a while before they sleep, and would
    take time from the next method.
    """
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for first in range(0, len(texts), TURN):
        for name, predict in methods.items():
            for text in texts[first : first + TURN]:
                start = time.perf_counter()
                predict([text])
                seconds[name].append(time.perf_counter() - start)
            time.sleep(PAUSE)
    return seconds


def compare_labels(labels: dict[tuple[str, str], list[str]], name: str) -> float:
    """The share of all texts whose label is that of the first method."""
    first = next(iter(labels))[0]
    equal = [np.array(labels[first, kind]) == np.array(labels[name, kind]) for kind in REVIEWS]
    return float(np.mean(equal))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deploy", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--texts", type=int, default=1000, help="of each kind (default: 1000)")
    parser.add_argument("--single", type=int, default=300, help="texts by themselves (default: 300)")
    parser.add_argument("--model", type=Path, default=CLASSIFIER)
    parser.add_argument("--fp32", type=Path, default=Path("models/onnx-fp32"))
    parser.add_argument("--int8", type=Path, default=Path("models/onnx-int8"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
