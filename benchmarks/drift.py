"""How often the test for drift finds some, where there is none and where there is: shares of resamples.

python -m benchmarks.drift restaurants.csv hotels.csv

Run it after `dvc repro` with real data, such as that of `recipes/imdb-full.yaml`, in an environment that is otherwise
idle. The texts of the test split are divided at random into a reference and new texts: drift that is found there is a
false alarm. Then the new texts are those of each file (its column `text`), alone or mixed into texts of the test split,
and films and products of the demo corpus. Sizes for which the test split has too few texts are left out. Features are
computed once; seconds are those of one test without them.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np

from stages.core.arguments import count
from stages.core.params import Params
from stages.core.paths import BASE, CLASSIFIER, RAW
from stages.data import demo_corpus
from stages.evaluation.two_sample import compare_samples
from stages.inference.csv_file import Layout
from stages.inference.samples import draw_from_csv, draw_from_split
from stages.inference.text_features import TextEncoder
from stages.text.cleaning import clean

SEED = 42
SIZES = ((50, 50), (50, 1000), (200, 1000), (1000, 1000))  # new texts and those of the test split
MIXED = (0.1, 0.2)  # shares of other texts among the new ones
DEMO_TEXTS = 500


def main() -> None:
    arguments = parse_arguments()
    params = Params.load()
    texts = read_texts(arguments.files, arguments.texts)
    encoder = TextEncoder(CLASSIFIER, BASE, params.evaluate.precision, params.evaluate.per_device_eval_batch_size)
    features = encoder.encode([clean(text, params.preprocess.strip_html) for part in texts.values() for text in part])
    ends = np.cumsum([len(part) for part in texts.values()])[:-1]
    report(
        dict(zip(texts, np.split(features.features, ends), strict=True)), arguments.resamples, params.drift.permutations
    )


def read_texts(files: list[Path], most: int) -> dict[str, list[str]]:
    """The texts of the test split, of each file, and of both kinds of the demo corpus."""
    texts = {"test": draw_from_split(RAW / "test.parquet", most, SEED).texts}
    for file in files:
        texts[file.stem] = draw_from_csv(file, Layout(), [], False, most, SEED).texts
    for kind in ("film", "product"):
        with patch.object(demo_corpus, "THINGS", {kind: demo_corpus.THINGS[kind]}):
            texts[f"demo {kind}s"] = [text for text, _ in demo_corpus.make_reviews("test", SEED)[:DEMO_TEXTS]]
    return texts


def report(features: dict[str, np.ndarray], resamples: int, permutations: int) -> None:
    """Print a table of the shares of resamples with a p-value of at most 0.01 and 0.05."""
    print(
        "| new texts | of the test split | p ≤ 0.01 | p ≤ 0.05 | mean AUC | seconds |\n|---|---:|---:|---:|---:|---:|"
    )
    for name, new, reference, other, mixed in list_comparisons(features):
        if new + reference > len(features["test"]):
            continue
        started, found = time.perf_counter(), []
        for seed in range(resamples):
            rows, is_new = resample(features, new, reference, other, mixed, seed)
            found.append(compare_samples(rows, is_new, np.arange(len(rows)), permutations, seed))
        p_values = np.array([one.p_value for one in found])
        shares = " | ".join(f"{100 * np.mean(p_values <= alpha):.1f} %" for alpha in (0.01, 0.05))
        auc, seconds = np.mean([one.auc for one in found]), (time.perf_counter() - started) / resamples
        print(f"| {new} {name} | {reference} | {shares} | {auc:.3f} | {seconds:.2f} |", flush=True)


def list_comparisons(features: dict[str, np.ndarray]) -> Iterator[tuple[str, int, int, str, float]]:
    """Yield name, numbers of new and reference texts, where the others come from, and their share among the new."""
    for new, reference in SIZES:
        yield "of the same source", new, reference, "test", 0.0
    for other in features:
        if not other.startswith(("test", "demo")):
            yield f"from {other}", *SIZES[0], other, 1.0
            for mixed in MIXED:
                yield f"with {mixed:.0%} from {other}", *SIZES[2], other, mixed
    yield "products of the demo corpus, against films", *SIZES[0], "demo products", 1.0


def resample(
    features: dict[str, np.ndarray], new: int, reference: int, other: str, mixed: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features of rows without replacement, and which of them are new."""
    random = np.random.default_rng(seed)
    source = features["demo films" if other == "demo products" else "test"]
    foreign = round(new * mixed)
    rows = random.permutation(len(source))[: new - foreign + reference]
    others = random.permutation(len(features[other]))[:foreign]
    chosen = np.concatenate([features[other][others], source[rows]])
    return chosen, np.arange(len(chosen)) < new


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="CSV files with a column text")
    parser.add_argument("--resamples", type=count, default=200)
    parser.add_argument("--texts", type=count, default=4000, help="at most, of the test split and of each file (4000)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
