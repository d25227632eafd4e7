"""Trainings and evaluations by the stages, in the current folder, which is the main checkout.

They share the data, but neither features nor checkpoints, and differ in params, in memory, or in what interrupts them.
"""

import csv
import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import DEFAULT, patch

import psutil
import torch
import yaml
from accelerate.optimizer import AcceleratedOptimizer
from support.project import make_params
from transformers import BertConfig, BertModel

from stages import base_model, download, evaluate, preprocess, train
from stages.core.csv_tables import read_numbers
from stages.core.errors import Terminated
from stages.core.files import read_json
from stages.core.params import Params
from stages.core.paths import CLASSIFIER, PREDICTIONS, RAW, TEST_METRICS, TOKENIZED, TRAIN_METRICS, TRAINING_CURVE
from stages.core.stage import measure_process
from stages.data.demo_corpus import make_reviews
from stages.inference.predictor import Predictor
from stages.model.classifier import load_classifier
from stages.text.encoding import load_splits, read_raw_texts
from stages.text.tokenizer import train_tokenizer
from stages.training.feature_cache import TOKENS_PER_BATCH
from stages.training.inputs import prepare_inputs

DEFAULTS = {
    "data.max_train_samples": 100,
    "data.max_test_samples": 50,
    "model.name": "tiny",
    "preprocess.max_length": 128,
    "train.freeze_layers": 1,
    "train.learning_rate": 3e-3,
    "train.num_train_epochs": 2,
    "train.per_device_train_batch_size": 16,
    "train.logging_steps": 1,
}
LABELS = ("negative", "positive")
FULL_BATCH = TOKENS_PER_BATCH["cuda"]
SMALL_BATCH = 2048  # tokens: a GPU fills every batch of the frozen layers up, here for few rows


def prepare_data() -> None:
    """The stages before `train`, with two random BERTs of two layers: `tiny` has no dropout."""
    if TOKENIZED.exists():
        return
    tokenizer = train_tokenizer(lambda: (text for text, _ in make_reviews("train", 0)[:200]), 400)
    for name, dropout in {"tiny": 0.0, "tiny_with_dropout": 0.1}.items():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings=128, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
            initializer_range=0.2,
        )  # fmt: skip
        BertModel(config).save_pretrained(name)
        tokenizer.save_pretrained(name)
    write_params({})
    for stage in (download, base_model, preprocess):
        stage.main()


def write_params(changes: dict[str, Any]) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(make_params(DEFAULTS | changes)), encoding="utf-8")


@contextmanager
def hide_gpu() -> Iterator[None]:
    """Let the stages find no GPU, although CUDA has started."""
    with patch.object(torch.cuda, "is_available", lambda: False):
        yield


@contextmanager
def offer_memory(host: bool) -> Iterator[None]:
    """Let the stages find no free memory on the GPU, and, unless `host`, none in the host."""
    total, memory = torch.cuda.get_device_properties(0).total_memory, psutil.virtual_memory()
    available = memory if host else memory._replace(available=0)
    with (
        patch.object(torch.cuda, "mem_get_info", lambda *_: (0, total)),
        patch.object(psutil, "virtual_memory", lambda: available),
    ):
        yield


@contextmanager
def limit_memory(megabytes: float) -> Iterator[None]:
    """Let allocations on the GPU fail that go beyond so many MB, as those of a full batch do."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(megabytes * 1e6 / total)
    try:
        with patch.dict(TOKENS_PER_BATCH, cuda=FULL_BATCH):
            yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@contextmanager
def scale_loss_too_much() -> Iterator[None]:
    """Let gradients overflow in fp16, until the loss scaler has halved its scale often enough."""
    with patch.object(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=2.0**22)):
        yield


@contextmanager
def interrupt_after(steps: int) -> Iterator[None]:
    """SIGTERM once, in the middle of a training."""
    step, counted = AcceleratedOptimizer.step, 0

    def step_and_interrupt(*args: Any) -> None:
        nonlocal counted
        step(*args)
        counted += 1
        if counted == steps:
            os.kill(os.getpid(), signal.SIGTERM)

    with patch.object(AcceleratedOptimizer, "step", step_and_interrupt):
        yield


@contextmanager
def watch(facts: dict[str, Any]) -> Iterator[None]:
    """Record where inputs are, and the calls of the optimizer, in `facts`.

    What takes time and is the same on a GPU is left out: sending the run to MLflow, and the report's pictures.
    """
    facts |= {"places": [], "steps": 0, "skipped": 0}
    step = AcceleratedOptimizer.step

    def prepare_and_record(*args: Any, **kwargs: Any) -> Any:
        inputs = prepare_inputs(*args, **kwargs)
        facts["places"] += sorted({describe_place(rows) for rows in inputs.rows.values()})
        return inputs

    def step_and_count(self: AcceleratedOptimizer, *args: Any) -> None:
        scale = self.scaler.get_scale() if self.scaler else 1.0
        step(self, *args)
        facts["steps"] += 1
        facts["skipped"] += self.scaler is not None and self.scaler.get_scale() < scale

    with (
        patch("stages.train.prepare_inputs", prepare_and_record),
        patch("stages.evaluate.prepare_inputs", prepare_and_record),
        patch.object(AcceleratedOptimizer, "step", step_and_count),
        patch.dict(TOKENS_PER_BATCH, cuda=SMALL_BATCH),
        patch("stages.tracking.run.start_sender", lambda *_: None),
        patch.multiple("stages.evaluate", write_curves=DEFAULT, write_report=DEFAULT, draw_confusion_matrix=DEFAULT),
    ):
        yield


def describe_place(rows: Any) -> str:
    """Where the rows of a split are: as tokens, or as features in the memory of the GPU, pinned, or on disk."""
    if not hasattr(rows, "memory"):
        return "tokens"
    if not rows.memory:
        return "disk"
    return "gpu" if rows.memory[0].is_cuda else "pinned" if rows.memory[0].is_pinned() else "not pinned"


def run(name: str) -> dict[str, Any]:
    """What a training and its evaluation give, and where their inputs were.

    Besides the metrics: the loss and the gradient's norm of each step, the SHA-256 of the weights, and the largest
    difference of the confidences in `reports/predictions.csv` to those of `predict` and of plain transformers.
    """
    changes, make_context = RUNS[name]
    os.environ["PIPELINE_CACHE"] = f"cache/{name}"
    write_params(changes)
    base_model.main()
    facts: dict[str, Any] = {}
    with watch(facts):
        with make_context():
            if name == "interrupted":
                with suppress(Terminated), interrupt_after(3):
                    train.main()
            train.main()
            facts["timings"] = measure_process("train")
            evaluate.main()
            facts["difference_to_predict"] = compare_confidences(predict)
        facts["difference_to_plain_model"] = compare_confidences(predict_plainly)
    facts["curve"] = [[row["loss"], row["grad_norm"]] for row in read_numbers(TRAINING_CURVE)]
    facts["weights"] = hashlib.sha256((CLASSIFIER / "model.safetensors").read_bytes()).hexdigest()
    return facts | read_json(TRAIN_METRICS) | {f"test_{key}": value for key, value in read_json(TEST_METRICS).items()}


def compare_confidences(predict: Callable[[], list[dict[str, float]]]) -> float:
    """The largest difference to what `evaluate` wrote; `predict` gives the confidence in each label by test row."""
    with PREDICTIONS.open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    rows = zip(written, predict(), strict=True)
    return max(abs(float(row["confidence"]) - found[row["predicted"]]) for row, found in rows)


def predict() -> list[dict[str, float]]:
    """The test rows' labels by what `python -m stages.predict` uses."""
    texts = read_raw_texts(RAW / "test.parquet")
    predictor = Predictor(CLASSIFIER, Params.load().evaluate.precision)
    answers = predictor.predict(texts, [str(number) for number in range(len(texts))])
    return [dict.fromkeys(LABELS, 1 - answer.probability) | {answer.label: answer.probability} for answer in answers]


def predict_plainly() -> list[dict[str, float]]:
    """The same by the saved model as a whole, in fp32 on the CPU, row by row."""
    model = load_classifier(CLASSIFIER).eval()
    with torch.no_grad():
        logits = [model(torch.tensor([ids])).logits[0] for ids in load_splits(TOKENIZED)["test"]["input_ids"]]
    return [dict(zip(LABELS, row.softmax(0).tolist(), strict=True)) for row in logits]


def change(precision: str, **train_params: Any) -> dict[str, Any]:
    params = {f"train.{key}": value for key, value in train_params.items()}
    return params | {"train.precision": precision, "evaluate.precision": precision}


RANDOM = {"model.name": "tiny_with_dropout"} | change("fp16", freeze_layers=0, full_determinism=True)
NOTHING_FROZEN = change("auto", freeze_layers=0, class_weights="balanced", dataloader_num_workers=1)
ALL_FROZEN = change("fp16", freeze_layers="all", per_device_train_batch_size=8, gradient_accumulation_steps=2)
# Changed params, and what surrounds the stages
RUNS: dict[str, tuple[dict[str, Any], Callable[[], Any]]] = {
    "cpu": (change("fp32"), hide_gpu),
    "fp32": (change("fp32"), nullcontext),
    "fp16": (change("fp16"), nullcontext),
    "bf16": (change("bf16"), nullcontext),
    "nothing frozen": (NOTHING_FROZEN, nullcontext),
    "overflow": (change("fp16"), scale_loss_too_much),
    "all layers frozen": (ALL_FROZEN, nullcontext),
    "pinned": (change("fp32"), lambda: offer_memory(host=True)),
    "on disk": (change("fp32"), lambda: offer_memory(host=False)),
    "not cached": (change("fp32") | {"cache.max_size_gb": 0}, nullcontext),
    "little memory": (change("fp32"), lambda: limit_memory(60)),
    "random": (RANDOM, nullcontext),
    "random again": (RANDOM, nullcontext),
    "interrupted": (RANDOM, nullcontext),
}
