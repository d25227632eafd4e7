"""Epochs and learning rate where params.yaml leaves them to the pipeline: `auto`."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedConfig

from stages.core.param_sections import Train
from stages.model.folder import find_head_pooling
from stages.model.freezing import count_trained_layers


class Schedule(NamedTuple):
    """The params that may be `auto`."""

    num_train_epochs: float
    learning_rate: float


# By the number of layers that train besides the head: the fewer they are, the less a step costs, because what is before
# them is cached, and the larger steps can be. Chosen on validation with MiniLM: docs/performance.md, "What auto is".
FEW_LAYERS = {0: Schedule(20.0, 5e-3), 1: Schedule(10.0, 1e-3), 2: Schedule(3.0, 5e-4)}
MORE_LAYERS = Schedule(1.0, 2e-4)
FEWEST_STEPS = 125  # of the default run; with few rows, as many epochs as make these


def resolve_settings(train: Train, config: PreTrainedConfig, rows: int) -> Train:
    """The section `train` with a number for each `auto`, for a training on so many rows, or windows of them.

    `config` is that of the classifier, after `freeze`.
    """
    chosen = FEW_LAYERS.get(count_trained_layers(config, getattr(config, "frozen_layers", 0)), MORE_LAYERS)
    steps = math.ceil(rows / (train.per_device_train_batch_size * train.gradient_accumulation_steps))  # of an epoch
    epochs = max(chosen.num_train_epochs, float(math.ceil(FEWEST_STEPS / steps)))
    values = chosen._replace(num_train_epochs=epochs)._asdict()
    return train.model_copy(update={key: value for key, value in values.items() if getattr(train, key) == "auto"})


def read_resolved(metrics: dict[str, Any], classifier: Path) -> dict[str, Any]:
    """What params that may be `auto` were in a finished training, by dotted key.

    `metrics` are those of `train`; `classifier` is the folder that it saved.
    """
    return {"model.pooling": find_head_pooling(classifier)} | {
        f"train.{key}": f"{metrics[key]:g}" for key in Schedule._fields
    }
