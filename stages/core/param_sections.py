"""The sections of `params.yaml`: one frozen, checked model for each, with one field for each key and its default value.

The section `data` is in `stages.core.data_section`.

A default is the project's own value. Recipes have it for each key that they do not name, and tests start from it.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.core.metric_names import Metric, find_limit_problem
from stages.core.param_types import (
    LARGEST,
    Count,
    CountOrNull,
    Fraction,
    FreezeLayers,
    GoalOrNull,
    NotNegative,
    PositiveOrAuto,
    Section,
    SeedOrNull,
    Share,
    ShareOrNull,
    Switch,
    one_of,
)  # fmt: skip

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]
Side = Literal["right", "left"]
PoolingOrAuto = Literal["auto", "first", "mean"]
TokenizerOrigin = Literal["pretrained", "train"]

# Keys of `train` that are fitted to the finished model on validation: they change no training.
FITTED_AFTER_TRAINING = {"calibration", "threshold"}


class Scratch(Section):
    hidden_size: Count = 128
    num_hidden_layers: Count = 2
    num_attention_heads: Count = 4
    intermediate_size: Count = 256
    hidden_dropout_prob: Share = 0.1
    vocab_size: Annotated[int, Field(ge=100, le=LARGEST, description="a whole number ≥ 100")] = 30522
    max_position_embeddings: Annotated[int, Field(ge=8, le=LARGEST, description="a whole number ≥ 8")] = 512

    @field_validator("num_attention_heads")
    @classmethod
    def check_heads(cls, value: int, info: ValidationInfo) -> int:
        width = info.data.get("hidden_size")
        if width and width % value:
            raise ValueError(
                f"model.scratch.num_attention_heads: found {value}; must divide model.scratch.hidden_size, {width}"
            )
        return value


class Model(Section):
    name: Annotated[str, Field(min_length=1, description="a hub id or a local folder")] = (
        "sentence-transformers/all-MiniLM-L6-v2"
    )
    revision: Annotated[str | None, Field(min_length=1, description="a commit, tag or branch of the hub, or null")] = (
        "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
    )
    pooling: Annotated[PoolingOrAuto, one_of(PoolingOrAuto)] = "auto"
    dropout: Annotated[float | None, Field(ge=0, lt=1, description="a number ≥ 0 and < 1, or null")] = None
    pretrained: Switch = True
    tokenizer: Annotated[TokenizerOrigin, one_of(TokenizerOrigin)] = "pretrained"
    scratch: Scratch = Scratch()

    @field_validator("tokenizer")
    @classmethod
    def check_tokenizer(cls, value: str, info: ValidationInfo) -> str:
        if value == "train" and info.data.get("pretrained"):
            raise ValueError(
                "model.tokenizer: found 'train'; pretrained weights work only with their own tokenizer. Use "
                "pretrained, or set model.pretrained to false"
            )
        return value


class Preprocess(Section):
    strip_html: Switch = True
    max_length: Annotated[int, Field(ge=8, le=LARGEST, description="a whole number of tokens ≥ 8")] = 128
    truncation_side: Annotated[Side, one_of(Side)] = "right"
    stride: Annotated[int | None, Field(ge=0, le=LARGEST, description="a whole number of tokens ≥ 0, or null")] = None


class Train(Section):
    freeze_layers: FreezeLayers = 3
    seed: SeedOrNull = None
    precision: Annotated[Precision, one_of(Precision)] = "auto"
    num_train_epochs: PositiveOrAuto = "auto"
    per_device_train_batch_size: Count = 32
    per_device_eval_batch_size: Count = 64
    gradient_accumulation_steps: Count = 1
    learning_rate: PositiveOrAuto = "auto"
    lr_scheduler_type: Annotated[Scheduler, one_of(Scheduler)] = "linear"
    warmup_steps: Annotated[
        float, Field(ge=0, le=LARGEST, description="a number of steps ≥ 1, a share of all steps < 1, or 0")
    ] = 0.1
    weight_decay: NotNegative = 0.01
    max_grad_norm: NotNegative = 1.0
    label_smoothing_factor: Share = 0.0
    class_weights: Annotated[Literal["none", "balanced"], one_of(Literal["none", "balanced"])] = "none"
    dataloader_num_workers: Annotated[int, Field(ge=0, le=LARGEST, description="a whole number ≥ 0")] = 0
    dataloader_pin_memory: Switch = True
    eval_steps: Annotated[
        float, Field(gt=0, le=LARGEST, description="a share of all steps < 1, or a whole number of steps")
    ] = 0.5
    early_stopping_patience: CountOrNull = None
    metric_for_best_model: Annotated[Metric, one_of(Metric)] = "accuracy"
    calibration: Annotated[Literal["none", "temperature"], one_of(Literal["none", "temperature"])] = "none"
    threshold: GoalOrNull = None
    logging_steps: Count = 10
    torch_compile: Switch = False
    full_determinism: Switch = False

    @field_validator("eval_steps")
    @classmethod
    def check_eval_steps(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"train.eval_steps: found {value}; allowed: a share of all steps < 1, or a whole number")
        return value


class Evaluate(Section):
    precision: Annotated[Precision, one_of(Precision)] = "auto"
    per_device_eval_batch_size: Count = 64
    full_model: Switch = False
    num_mistakes: Annotated[int, Field(ge=0, le=LARGEST, description="a whole number ≥ 0")] = 50


class Cache(Section):
    max_size_gb: NotNegative = 20


class Tracking(Section):
    # The databases of MLflow's servers keep 256 characters.
    experiment: Annotated[str, Field(min_length=1, max_length=256, description="a name of at most 256 characters")] = (
        "text-classifier"
    )
    log_model: Switch = True
    system_metrics: Switch = True
    tensorboard: Switch = False


class Gate(Section):
    """`min_<metric>` and `max_<metric>` limit the metric or timing of that name, as the keys of `metrics` do."""

    min_accuracy: ShareOrNull = 0.85
    min_recall_worst_class: ShareOrNull = 0.8
    min_accuracy_worst_slice: ShareOrNull = None
    max_calibration_error: ShareOrNull = 0.1
    max_train_seconds: Annotated[float | None, Field(gt=0, le=LARGEST, description="a number > 0, or null")] = 600
    metrics: dict[str, float] | None = Field(
        default=None, description="a mapping {min_f1_macro: 0.8, max_loss: 0.3}, or null"
    )
    champion_confidence: Annotated[
        float | None, Field(gt=0, lt=1, description="a number between 0 and 1, both excluded, or null")
    ] = 0.95
    registered_model: Annotated[
        str,
        Field(
            pattern=r"^[\w .-]+$",
            max_length=256,
            description="a name of letters, digits, spaces and . - _, at most 256",
        ),
    ] = "text-classifier"

    @field_validator("metrics", mode="before")
    @classmethod
    def check_metrics(cls, value: Any) -> Any:
        """Name each unknown metric, with the one that may be meant, and each limit that is not a number."""
        if not isinstance(value, dict):
            return value
        problems = [problem for rule, limit in value.items() if (problem := find_limit_problem(rule, limit))]
        if problems:
            raise ValueError("\n  ".join(f"gate.metrics.{problem}" for problem in problems))
        return value


class Drift(Section):
    alpha: Fraction = 0.01
    max_auc: Annotated[float, Field(ge=0.5, lt=1, description="a number from 0.5 to 1, 1 excluded")] = 0.5
    permutations: Count = 500
    max_rows: Annotated[int, Field(ge=50, le=LARGEST, description="a whole number ≥ 50")] = 2000

    @field_validator("permutations")
    @classmethod
    def check_permutations(cls, value: int, info: ValidationInfo) -> int:
        """The smallest p-value that so many permutations can give must not be above alpha."""
        alpha = info.data.get("alpha")
        if alpha and 1 / (1 + value) > alpha:
            least = math.ceil(1 / alpha) - 1
            raise ValueError(f"drift.permutations: found {value}; drift.alpha {alpha:g} needs at least {least}")
        return value
