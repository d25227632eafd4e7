"""The sections of `params.yaml`: one frozen, checked model for each, with one field for each key."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from stages.core.param_types import (
    LARGEST,
    Column,
    Count,
    CountOrNull,
    Fraction,
    FreezeLayers,
    NameOrNull,
    NotNegative,
    Section,
    Share,
    ShareOrNull,
    Switch,
    one_of,
)  # fmt: skip

Metric = Literal["accuracy", "precision_macro", "recall_macro", "f1_macro", "loss"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]
Source = Literal["demo", "folder", "csv", "json", "parquet", "hub"]
Side = Literal["right", "left"]
Split = Literal["train", "validation", "test"]
OnBadRows = Literal["error", "drop"]
OnLeak = Literal["warn", "drop_from_train", "error"]
TokenizerOrigin = Literal["pretrained", "train"]

TABLES = {"csv", "json", "parquet"}
# The sources that each key is for.
SOURCES_WITH = {
    "path": {*TABLES, "folder", "hub"},
    "sha256": {*TABLES, "folder"},
    "config": {"hub"},
    "revision": {"hub"},
    "text_pair_column": {*TABLES, "hub"},
}
# What data.path means, for each source that has one.
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
    max_size_gb: Annotated[float, Field(gt=0, le=LARGEST, description="a number > 0")]
    splits: Annotated[
        dict[Split, str] | None,
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
    def check_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        name = str(info.field_name)
        key = f"data.{name}"
        source = info.data.get("source")
        if key == "data.path" and value is None and source in SOURCE_PATHS:
            raise ValueError(f"{key}: missing; data.source '{source}' needs {SOURCE_PATHS[source]}")
        if value is not None and source and source not in SOURCES_WITH[name]:
            raise ValueError(f"{key}: found {value!r}; data.source '{source}' has none, so null is allowed")
        return value

    @field_validator("encoding")
    @classmethod
    def check_encoding(cls, value: str) -> str:
        try:
            "".encode(value)
        except (LookupError, UnicodeError):
            raise ValueError(f"data.encoding: found {value!r}; allowed: a text encoding that Python knows") from None
        return value

    @field_validator("delimiter")
    @classmethod
    def unescape_tab(cls, value: str) -> str:
        return "\t" if value == "\\t" else value

    @field_validator("quotechar")
    @classmethod
    def check_quotechar(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value in (info.data.get("delimiter"), "\r", "\n"):
            raise ValueError(f"data.quotechar: found {value!r}; must differ from data.delimiter and line ends")
        return value


class Scratch(Section):
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    intermediate_size: Count
    hidden_dropout_prob: Share
    vocab_size: Annotated[int, Field(ge=100, le=LARGEST, description="a whole number ≥ 100")]
    max_position_embeddings: Annotated[int, Field(ge=8, le=LARGEST, description="a whole number ≥ 8")]

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
    name: Annotated[str, Field(min_length=1, description="a hub id or a local folder")]
    revision: Annotated[str | None, Field(min_length=1, description="a commit, tag or branch of the hub, or null")]
    dropout: Annotated[float | None, Field(ge=0, lt=1, description="a number ≥ 0 and < 1, or null")]
    pretrained: Switch
    tokenizer: Annotated[TokenizerOrigin, one_of(TokenizerOrigin)]
    scratch: Scratch

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
    strip_html: Switch
    max_length: Annotated[int, Field(ge=8, le=LARGEST, description="a whole number of tokens ≥ 8")]
    truncation_side: Annotated[Side, one_of(Side)]
    stride: Annotated[int | None, Field(ge=0, le=LARGEST, description="a whole number of tokens ≥ 0, or null")]


class Train(Section):
    freeze_layers: FreezeLayers
    precision: Annotated[Precision, one_of(Precision)]
    num_train_epochs: Annotated[float, Field(gt=0, le=LARGEST, description="a number > 0")]
    per_device_train_batch_size: Count
    per_device_eval_batch_size: Count
    gradient_accumulation_steps: Count
    learning_rate: Annotated[float, Field(gt=0, le=LARGEST, description="a number > 0")]
    lr_scheduler_type: Annotated[Scheduler, one_of(Scheduler)]
    warmup_steps: Annotated[
        float, Field(ge=0, le=LARGEST, description="a number of steps ≥ 1, a share of all steps < 1, or 0")
    ]
    weight_decay: NotNegative
    max_grad_norm: NotNegative
    label_smoothing_factor: Share
    class_weights: Annotated[Literal["none", "balanced"], one_of(Literal["none", "balanced"])]
    dataloader_num_workers: Annotated[int, Field(ge=0, le=LARGEST, description="a whole number ≥ 0")]
    dataloader_pin_memory: Switch
    eval_steps: Annotated[
        float, Field(gt=0, le=LARGEST, description="a share of all steps < 1, or a whole number of steps")
    ]
    early_stopping_patience: CountOrNull
    metric_for_best_model: Annotated[Metric, one_of(Metric)]
    logging_steps: Count
    torch_compile: Switch
    full_determinism: Switch

    @field_validator("eval_steps")
    @classmethod
    def check_eval_steps(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"train.eval_steps: found {value}; allowed: a share of all steps < 1, or a whole number")
        return value


class Evaluate(Section):
    precision: Annotated[Precision, one_of(Precision)]
    per_device_eval_batch_size: Count
    full_model: Switch
    num_mistakes: Annotated[int, Field(ge=0, le=LARGEST, description="a whole number ≥ 0")]


class Cache(Section):
    max_size_gb: NotNegative


class Tracking(Section):
    experiment: Annotated[str, Field(min_length=1, description="a name")]
    log_model: Switch
    system_metrics: Switch
    tensorboard: Switch


class Gate(Section):
    """`min_<metric>` and `max_<metric>` limit the metric or timing of that name."""

    min_accuracy: ShareOrNull
    min_recall_worst_class: ShareOrNull
    max_calibration_error: ShareOrNull
    max_train_seconds: Annotated[float | None, Field(gt=0, le=LARGEST, description="a number > 0, or null")]
    champion_confidence: Annotated[
        float | None, Field(gt=0, lt=1, description="a number between 0 and 1, both excluded, or null")
    ]
    registered_model: Annotated[
        str, Field(pattern=r"^[\w .-]+$", description="a name of letters, digits, spaces and . - _")
    ]
