"""F1 of several labels a text: this pipeline against Trainer with the settings of transformers' run_classification.py.

python -m benchmarks.multi_label [--seeds 5] [--epochs 3] [--learning-rate 2e-5]

Run it in a workspace after `dvc repro preprocess`, with data of several labels a text. Both sides train all layers on
the same rows and tokens, in the same precision, and are measured on validation after the last step. The settings are
those of the example in transformers/examples/pytorch/text-classification: learning rate 2e-5, linear to zero, no
warmup, no weight decay, batches of 32 rows padded to `preprocess.max_length`, a label where the logit is above 0.
"""

import argparse
import tempfile
import time
from typing import Any

import numpy as np
from datasets import Dataset
from sklearn.metrics import f1_score
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    set_seed,
)

from stages.core.hardware import describe_processor, resolve_precision
from stages.core.param_types import LARGEST
from stages.core.params import Params
from stages.core.paths import BASE
from stages.text.labels import read_labels
from stages.training.trials import Trials

BATCH_SIZE = 32


def main() -> None:
    options = parse_arguments()
    params = Params.load()
    trials = Trials.open(params.cache)
    precision = resolve_precision("train.precision", params.train.precision)
    print(f"{describe_processor()}, {precision}, {len(trials.data['train']):,} rows, {len(trials.labels)} labels")
    scores: dict[str, list[list[float]]] = {"this pipeline": [], "Trainer": []}
    for seed in range(options.seeds):
        scores["this pipeline"].append(measure(run_pipeline, trials, params, options, seed, precision))
        scores["Trainer"].append(measure(run_trainer, trials, params, options, seed, precision))
        print(
            f"seed {seed}: " + "; ".join(f"{name} {format_scores(rows[-1:])}" for name, rows in scores.items()),
            flush=True,
        )
    print("\n| | F1, micro | F1, macro | seconds |\n|---|---:|---:|---:|")
    for name, rows in scores.items():
        print(f"| {name} | {format_scores(rows, ' | ')} |")


def measure(run: Any, trials: Trials, *arguments: Any) -> list[float]:
    """Micro and macro F1 on validation, and the seconds of training."""
    labels = read_labels(trials.data["validation"])
    started = time.perf_counter()
    logits, end = run(trials, *arguments)
    scores = [f1_score(labels, logits > 0, average=average, zero_division=0) for average in ("micro", "macro")]
    return [*scores, end - started]


def run_pipeline(trials: Trials, params: Params, options: Any, seed: int, precision: str) -> tuple[np.ndarray, float]:
    """Logits `(N, C)` of validation, and when the training ended."""
    changed = params.change_train(
        {
            "train.freeze_layers": 0,
            "train.seed": seed,
            "train.num_train_epochs": options.epochs,
            "train.learning_rate": options.learning_rate,
            "train.per_device_train_batch_size": BATCH_SIZE,
            "train.warmup_steps": 0.0,
            "train.weight_decay": 0.0,
            "train.eval_steps": LARGEST,
        }
    )
    training = trials.run(changed.train, seed)
    return training.predict_validation(), time.perf_counter()


def run_trainer(trials: Trials, params: Params, options: Any, seed: int, precision: str) -> tuple[np.ndarray, float]:
    """The same of Trainer, as run_classification.py uses it."""
    set_seed(seed)
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        BASE, num_labels=len(trials.labels), problem_type="multi_label_classification", dtype="float32"
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                output_dir=folder,
                learning_rate=options.learning_rate,
                num_train_epochs=options.epochs,
                per_device_train_batch_size=BATCH_SIZE,
                per_device_eval_batch_size=BATCH_SIZE,
                bf16=precision == "bf16",
                use_cpu=True,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=seed,
            ),
            data_collator=DataCollatorWithPadding(
                trials.tokenizer, padding="max_length", max_length=params.preprocess.max_length
            ),
            train_dataset=make_multi_hot(trials.data["train"]),
        )
        trainer.train()
        ended = time.perf_counter()
        logits = trainer.predict(make_multi_hot(trials.data["validation"])).predictions
    assert isinstance(logits, np.ndarray)
    return logits, ended


def make_multi_hot(rows: Dataset) -> Dataset:
    """The rows with `labels` as numbers 0.0 and 1.0, which Trainer's loss takes."""
    labels = read_labels(rows).astype(np.float32)
    columns = [name for name in ("input_ids", "token_type_ids") if name in rows.column_names]
    return rows.select_columns(columns).add_column("labels", list(labels))


def format_scores(rows: list[list[float]], separator: str = ", ") -> str:
    """Mean and standard deviation of each score, the median of the seconds."""
    columns = np.array(rows).T
    spreads = [f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else "" for values in columns]
    shown = [f"{values.mean():.4f}{spread}" for values, spread in zip(columns[:2], spreads, strict=False)]
    return separator.join([*shown, f"{np.median(columns[2]):.1f}"])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.multi_label", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
