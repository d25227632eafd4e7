"""Epochs and learning rate where params.yaml leaves them to the pipeline: `auto`."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from stages.core.param_sections import Train
from stages.model.folder import find_head_pooling
from stages.model.freezing import freezes_all_layers

# A head alone has few weights, starts from random ones and takes 2 ms a step, so it gets many large steps. Chosen on
# validation with MiniLM (demo corpus, 5,000 IMDB reviews): 10 epochs are too few, 30 or larger steps gain nothing, and
# the exact solution of scikit-learn's LogisticRegression, with the best C, is not significantly better.
HEAD_ALONE = {"num_train_epochs": 20.0, "learning_rate": 5e-3}
WITH_LAYERS = {"num_train_epochs": 1.0, "learning_rate": 2e-4}


def resolve_settings(train: Train, config: PreTrainedConfig) -> Train:
    """The section `train` with a number for each `auto`; `config` is that of the classifier, after `freeze`."""
    is_head_alone = freezes_all_layers(config, getattr(config, "frozen_layers", 0))
    automatic = HEAD_ALONE if is_head_alone else WITH_LAYERS
    return train.model_copy(update={key: value for key, value in automatic.items() if getattr(train, key) == "auto"})


def read_resolved(metrics: dict[str, Any], classifier: Path) -> dict[str, Any]:
    """What params that may be `auto` were in a finished training, by dotted key.

    `metrics` are those of `train`; `classifier` is the folder that it saved.
    """
    return {"model.pooling": find_head_pooling(classifier)} | {
        f"train.{key}": f"{metrics[key]:g}" for key in WITH_LAYERS
    }
