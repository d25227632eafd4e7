"""`params.yaml` as frozen, checked values: one model a section, one field a key."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from stages.core.errors import UserError
from stages.core.param_types import (
    MOST,
    Column,
    Count,
    CountOrNull,
    Fraction,
    NameOrNull,
    NotNegative,
    Section,
    Share,
    ShareOrNull,
    Switch,
    describe,
    one_of,
)  # fmt: skip
from stages.core.yaml_files import parse_yaml, read_yaml

Metric = Literal["accuracy", "precision_macro", "recall_macro", "f1_macro", "loss"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]
Source = Literal["demo", "folder", "csv", "json", "parquet", "hub"]
Side = Literal["right", "left"]
OnBadRows = Literal["error", "drop"]
OnLeak = Literal["warn", "drop_from_train", "error"]
TokenizerOrigin = Literal["pretrained", "train"]

TABLES = {"csv", "json", "parquet"}
SOURCES_WITH = {
    "path": {*TABLES, "folder", "hub"},
    "sha256": {*TABLES, "folder"},
    "config": {"hub"},
    "revision": {"hub"},
    "text_pair_column": {*TABLES, "hub"},
}
# What data.path is for each source that has one.
SOURCE_PATHS = {
    "folder": "the path or URL of a folder or archive",
    "csv": "the path or URL of a file, or a folder of one file a split",
    "json": "the path or URL of a file, or a folder of one file a split",
    "parquet": "the path or URL of a file, or a folder of one file a split",
    "hub": "the id of a data set of the Hugging Face hub, such as stanfordnlp/imdb",
}


class Data(Section):
    source: Annotated[Source, one_of(Source)]
    path: Annotated[str | None, Field(min_length=1, description="a path, URL or hub id, or null where it has none")]
    config: NameOrNull
    revision: NameOrNull
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-fA-F]{64}$", description="64 hex digits in quotes, or null")]
    max_size_gb: Annotated[float, Field(gt=0, le=MOST, description="a number > 0")]
    splits: Annotated[
        dict[Literal["train", "validation", "test"], str] | None,
        Field(min_length=1, description="a mapping {train: name, validation: name, test: name}, or null"),
    ]
    text_column: Column
    text_pair_column: Annotated[str | int | None, Field(description="a column's name or number, or null")]
    label_column: Column
    label_names: Annotated[
        dict[str | int | bool, str] | None, Field(min_length=2, description="a mapping {value: name, ...}, or null")
    ]
    encoding: Annotated[str, Field(description="a text encoding that Python knows, such as utf-8 or gb18030")]
    header: Switch
    delimiter: Annotated[str, Field(pattern=r"^(.|\n|\\t)$", description="one character, or \\t for a tab")]
    quotechar: Annotated[str | None, Field(min_length=1, max_length=1, description="one character, or null")]
    on_bad_rows: Annotated[OnBadRows, one_of(OnBadRows)]
    on_leak: Annotated[OnLeak, one_of(OnLeak)]
    max_train_samples: CountOrNull
    max_test_samples: CountOrNull
    validation_fraction: Fraction
    test_fraction: Fraction

    @field_validator("path", "sha256", "config", "revision", "text_pair_column")
    @classmethod
    def fit_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        source, key = info.data.get("source"), f"data.{info.field_name}"
        if key == "data.path" and value is None and source in SOURCE_PATHS:
            raise ValueError(f"{key}: missing; data.source '{source}' needs {SOURCE_PATHS[source]}")
        if value is not None and source and source not in SOURCES_WITH[info.field_name]:
            raise ValueError(f"{key}: found {value!r}; data.source '{source}' has none, so null is allowed")
        return value

    @field_validator("encoding")
    @classmethod
    def be_known(cls, value: str) -> str:
        try:
            "".encode(value)
        except (LookupError, UnicodeError):
            raise ValueError(f"data.encoding: found {value!r}; allowed: a text encoding that Python knows") from None
        return value

    @field_validator("delimiter")
    @classmethod
    def unescape(cls, value: str) -> str:
        return "\t" if value == "\\t" else value

    @field_validator("quotechar")
    @classmethod
    def differ(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value in (info.data.get("delimiter"), "\r", "\n"):
            raise ValueError(f"data.quotechar: found {value!r}; must differ from data.delimiter and line ends")
        return value


class Scratch(Section):
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    intermediate_size: Count
    hidden_dropout_prob: Share
    vocab_size: Annotated[int, Field(ge=100, le=MOST, description="a whole number ≥ 100")]
    max_position_embeddings: Annotated[int, Field(ge=8, le=MOST, description="a whole number ≥ 8")]

    @field_validator("num_attention_heads")
    @classmethod
    def divide_width(cls, value: int, info: ValidationInfo) -> int:
        width = info.data.get("hidden_size")
        if width and width % value:
            raise ValueError(
                f"model.scratch.num_attention_heads: found {value}; must divide model.scratch.hidden_size, {width}"
            )
        return value


class Model(Section):
    name: Annotated[str, Field(min_length=1, description="a hub id or a local folder")]
    revision: Annotated[str | None, Field(min_length=1, description="a commit, tag or branch of the hub, or null")]
    dropout: Annotated[float | None, Field(ge=0, lt=1, description="a number ≥ 0 and < 1, or null")]
    pretrained: Switch
    tokenizer: Annotated[TokenizerOrigin, one_of(TokenizerOrigin)]
    scratch: Scratch

    @field_validator("tokenizer")
    @classmethod
    def fit_weights(cls, value: str, info: ValidationInfo) -> str:
        if value == "train" and info.data.get("pretrained"):
            raise ValueError(
                "model.tokenizer: found 'train'; pretrained weights know only their own tokenizer. Use pretrained, or "
                "set model.pretrained to false"
            )
        return value


class Preprocess(Section):
    strip_html: Switch
    max_length: Annotated[int, Field(ge=8, le=MOST, description="a whole number of tokens ≥ 8")]
    truncation_side: Annotated[Side, one_of(Side)]
    stride: Annotated[int | None, Field(ge=0, le=MOST, description="a whole number of tokens ≥ 0, or null")]


class Train(Section):
    freeze_layers: Annotated[
        Annotated[int, Field(ge=0, le=MOST)] | Literal["all"], Field(description="a whole number ≥ 0, or all")
    ]
    precision: Annotated[Precision, one_of(Precision)]
    num_train_epochs: Annotated[float, Field(gt=0, le=MOST, description="a number > 0")]
    per_device_train_batch_size: Count
    per_device_eval_batch_size: Count
    gradient_accumulation_steps: Count
    learning_rate: Annotated[float, Field(gt=0, le=MOST, description="a number > 0")]
    lr_scheduler_type: Annotated[Scheduler, one_of(Scheduler)]
    warmup_steps: Annotated[
        float, Field(ge=0, le=MOST, description="a number of steps ≥ 1, a share of all steps < 1, or 0")
    ]
    weight_decay: NotNegative
    max_grad_norm: NotNegative
    label_smoothing_factor: Share
    class_weights: Annotated[Literal["none", "balanced"], one_of(Literal["none", "balanced"])]
    dataloader_num_workers: Annotated[int, Field(ge=0, le=MOST, description="a whole number ≥ 0")]
    dataloader_pin_memory: Switch
    eval_steps: Annotated[
        float, Field(gt=0, le=MOST, description="a share of all steps < 1, or a whole number of steps")
    ]
    early_stopping_patience: CountOrNull
    metric_for_best_model: Annotated[Metric, one_of(Metric)]
    logging_steps: Count
    torch_compile: Switch
    full_determinism: Switch

    @field_validator("eval_steps")
    @classmethod
    def be_share_or_whole(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"train.eval_steps: found {value}; allowed: a share of all steps < 1, or a whole number")
        return value


class Evaluate(Section):
    precision: Annotated[Precision, one_of(Precision)]
    per_device_eval_batch_size: Count
    full_model: Switch
    num_mistakes: Annotated[int, Field(ge=0, le=MOST, description="a whole number ≥ 0")]


class Cache(Section):
    max_size_gb: NotNegative


class Tracking(Section):
    experiment: Annotated[str, Field(min_length=1, description="a name")]
    log_model: Switch
    system_metrics: Switch
    tensorboard: Switch


class Gate(Section):
    """`min_<metric>` and `max_<metric>` are limits of what `evaluate` and the timings hold by that name."""

    min_accuracy: ShareOrNull
    min_recall_worst_class: ShareOrNull
    max_calibration_error: ShareOrNull
    max_train_seconds: Annotated[float | None, Field(gt=0, le=MOST, description="a number > 0, or null")]
    champion_confidence: Annotated[
        float | None, Field(gt=0, lt=1, description="a number between 0 and 1, both excluded, or null")
    ]
    registered_model: Annotated[
        str, Field(pattern=r"^[\w .-]+$", description="a name of letters, digits, spaces and . - _")
    ]


class Params(Section):
    """All of `params.yaml`. Only entry points see it whole; parts receive their own section."""

    seed: Annotated[int, Field(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")]
    data: Data
    model: Model
    preprocess: Preprocess
    train: Train
    evaluate: Evaluate
    cache: Cache
    tracking: Tracking
    gate: Gate

    @classmethod
    def load(cls, path: Path = Path("params.yaml")) -> "Params":
        """Read and check the file; UserError lists every fault with its dotted key."""
        return cls.check(read_yaml(path), str(path))

    @classmethod
    def parse(cls, text: str, where: str) -> "Params":
        """The same of a file's text, which was at `where`."""
        return cls.check(parse_yaml(text, where), where)

    @classmethod
    def check(cls, values: dict[str, Any], where: str) -> "Params":
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = list(dict.fromkeys(describe(fault, cls) for fault in error.errors()))
            lines = "".join(f"\n  {fault}" for fault in faults)
            raise UserError(f"{where}: {len(faults)} fault{'s' * (len(faults) > 1)}{lines}") from None

    def flat(self) -> dict[str, Any]:
        """`{"train.learning_rate": 5e-5, ...}`, as MLflow wants them; what the gate asks for is no part of a run."""
        return {key: value for key, value in flatten(self) if not key.startswith("gate.")}


def flatten(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section:
        if isinstance(value, Section):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
