"""How fast predictors are on this machine, measured in turn for a few seconds."""

import time
from collections.abc import Mapping, Sequence
from statistics import median

from stages.inference.text_predictor import Text, TextPredictor

SINGLE_TEXTS = 30  # that are answered one by one
MOST_TEXTS = 256  # that are answered at once
ROUNDS = 3


def measure_speed(predictors: Mapping[str, TextPredictor], texts: Sequence[Text]) -> dict[str, dict[str, float]]:
    """Of each predictor: `single_text_ms`, the median for a text by itself, and `texts_per_second` of many at once."""
    single, many = texts[:SINGLE_TEXTS], texts[:MOST_TEXTS]
    latencies: dict[str, list[float]] = {name: [] for name in predictors}
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    for number in range(ROUNDS + 1):  # the first does not count
        for name, predictor in predictors.items():
            one_by_one = [measure(predictor, [text]) for text in single]
            at_once = measure(predictor, many)
            if number:
                latencies[name] += one_by_one
                seconds[name].append(at_once)
    return {
        name: {
            "single_text_ms": round(median(latencies[name]) * 1000, 2),
            "texts_per_second": round(len(many) / median(seconds[name]), 1),
        }
        for name in predictors
    }


def measure(predictor: TextPredictor, texts: Sequence[Text]) -> float:
    """Seconds for these texts."""
    start = time.perf_counter()
    predictor.predict(texts, [""] * len(texts))
    return time.perf_counter() - start
