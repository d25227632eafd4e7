"""Training of the tiny model on an easy task, in seconds."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from transformers import set_seed

from stages.core.hardware import resolve_precision
from stages.core.param_sections import Cache, Evaluate
from stages.core.params import Params
from stages.model.classifier import build_classifier
from stages.model.freezing import freeze
from stages.text.labels import get_problem_type
from stages.training.inputs import Inputs, prepare_inputs
from stages.training.prediction import predict_rows
from stages.training.trainer import ClassifierTrainer, make_trainer

SPLITS = ("train", "validation", "test")
LABEL = ClassLabel(names=["no", "yes"])
FEATURES = Features(input_ids=List(Value("int32")), length=Value("int32"), labels=LABEL)
DEFAULTS = {
    "train.freeze_layers": 0,
    "train.precision": "fp32",
    "train.num_train_epochs": 1,
    "train.per_device_train_batch_size": 16,
    "train.learning_rate": 3e-3,
    "train.early_stopping_patience": None,
    "train.metric_for_best_model": "accuracy",
}


def make_rows(count, seed):
    """Token rows of many lengths; the second token is the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count).tolist()
    ids = [[2, 10 + label, *rng.integers(20, 500, rng.integers(1, 30))] for label in labels]
    columns = {"input_ids": ids, "length": [len(row) for row in ids], "labels": labels}
    return Dataset.from_dict(columns, features=FEATURES)


def make_multi_label_rows(count, seed):
    """Token rows that have each of the labels or not, as the second and the third token say."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (count, 2))
    ids = [[2, *[12 + one, 10 + other] * 2, *rng.integers(20, 500, rng.integers(1, 9))] for one, other in labels]
    columns = {"input_ids": ids, "length": [len(row) for row in ids]}
    columns["labels"] = [np.flatnonzero(row).tolist() for row in labels]
    return Dataset.from_dict(columns, features=Features(FEATURES | {"labels": List(LABEL)}))


def make_windows(split):
    """The rows as windows of documents, about two each; a document has the label of its first row."""
    _, first, documents = np.unique(
        np.sort(np.random.default_rng(3).integers(0, len(split) // 2, len(split))),
        return_index=True,
        return_inverse=True,
    )
    labels = [split["labels"][row] for row in first[documents].tolist()]
    columns = {"input_ids": split["input_ids"][:], "length": split["length"][:], "labels": labels}
    features = Features(split.features | {"document": Value("int32")})
    return Dataset.from_dict(columns | {"document": documents}, features=features)


def train(
    model: Path,
    params: Callable[..., Params],
    folder: Path,
    changes: dict | None = None,
    callbacks: tuple = (),
    windows: bool = False,
    make_rows: Callable[[int, int], Dataset] = make_rows,
) -> tuple[ClassifierTrainer, DatasetDict]:
    """Return the Trainer after training with checkpoints in `folder`, and its data."""
    data = DatasetDict(train=make_rows(256, 0), validation=make_rows(64, 1), test=make_rows(64, 2))
    data = DatasetDict({split: make_windows(values) for split, values in data.items()}) if windows else data
    set_seed(0)
    model = build_classifier(model, ["no", "yes"], None, problem_type=get_problem_type(data["train"]))
    section = params(DEFAULTS | (changes or {})).train
    freeze(model, section.freeze_layers)
    tokenizer = SimpleNamespace(pad_token_id=0, model_max_length=128)
    inputs = prepare_inputs(model, data, SPLITS, tokenizer, "fp32", Cache(max_size_gb=1))
    trainer = make_trainer(inputs, section, 0, folder, list(callbacks))
    trainer.complete_model, trainer.inputs = model, inputs
    trainer.fit()
    return trainer, data


def predict_logits(inputs: Inputs, split: str, evaluate: Evaluate) -> np.ndarray:
    """Logits `(D, C)` of the split's documents, as `evaluate` computes them."""
    precision = resolve_precision("evaluate.precision", evaluate.precision)
    return predict_rows(inputs, split, precision, evaluate.per_device_eval_batch_size).predict().logits
