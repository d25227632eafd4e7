"""What the speed benchmark compares with: `transformers.Trainer`, used as its documentation shows.

python -m benchmarks.plain_trainer WORKSPACE RESULT [options]

It reads the tokens and the base model of a workspace after `preprocess`, and writes seconds, memory and accuracies
to the JSON file RESULT.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, load_from_disk
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    set_seed,
)

from stages.core.memory import measure_peak_memory


def main() -> None:
    options = parse_arguments()
    set_seed(options.seed)
    data = load_from_disk(options.workspace / "data/tokenized")
    tokenizer = AutoTokenizer.from_pretrained(options.workspace / "data/tokenized/tokenizer")
    labels = data["train"].features["labels"].num_classes
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
        options.workspace / "models/base", num_labels=labels, dtype="float32"
    )
    freeze(model, options.freeze)
    padding = {"padding": "max_length", "max_length": options.pad_to} if options.pad_to else {}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            make_arguments(options, folder),
            data_collator=DataCollatorWithPadding(tokenizer, **padding),
            train_dataset=data["train"],
            eval_dataset=data["validation"],
            processing_class=tokenizer,
            compute_metrics=compute_accuracy,
        )
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
    peak = measure_peak_memory() / 2**20
    accuracies = {f"{split}_accuracy": measure_accuracy(trainer, data[split]) for split in ("validation", "test")}
    result = {"training_seconds": seconds, "peak_memory_mb": peak} | accuracies
    if torch.cuda.is_initialized():
        result["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    options.result.write_text(json.dumps(result))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain_trainer", description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--freeze", default="0", help="layers, or all")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--pad-to", type=int, default=0, help="tokens | 0: pad each batch to its longest row")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--group-by-length", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--seed", type=int, default=42)
    return parser.parse_args()


def make_arguments(options: argparse.Namespace, folder: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=options.epochs,
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=options.learning_rate,
        weight_decay=0.01,
        warmup_steps=0.1,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        bf16=options.precision == "bf16",
        fp16=options.precision == "fp16",
        use_cpu=options.device == "cpu",
        train_sampling_strategy="group_by_length" if options.group_by_length else "random",
        dataloader_num_workers=options.workers,
        dataloader_pin_memory=options.workers > 0 and options.device != "cpu",
        seed=options.seed,
        report_to="none",
    )


def freeze(model: PreTrainedModel, count: str) -> None:
    """As in most tutorials: parameters of frozen layers get no gradients, and nothing else changes."""
    if count == "0":
        return
    number = sys.maxsize if count == "all" else int(count)
    for name, parameter in model.base_model.named_parameters():
        layer = next((int(part) for part in name.split(".") if part.isdigit()), -1)
        if layer < number and "pooler" not in name:
            parameter.requires_grad = False


def measure_accuracy(trainer: Trainer, rows: Dataset) -> float:
    return (trainer.predict(rows).metrics or {})["test_accuracy"]


def compute_accuracy(prediction: EvalPrediction) -> dict[str, float]:
    logits, labels = prediction.predictions, prediction.label_ids
    assert isinstance(logits, np.ndarray)
    return {"accuracy": float((logits.argmax(-1) == labels).mean())}


if __name__ == "__main__":
    main()
