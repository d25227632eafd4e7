"""`params.yaml` as frozen, checked values: one model a section, one field a key.

The description of a field is what an error message says is allowed.
"""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from stages.lib.errors import UserError

Metric = Literal["accuracy", "precision_macro", "recall_macro", "f1_macro", "loss"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]

Count = Annotated[int, Field(ge=1, description="a whole number ≥ 1")]
CountOrNull = Annotated[int | None, Field(ge=1, description="a whole number ≥ 1, or null")]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a number ≥ 0")]
Switch = Annotated[bool, Field(description="true or false")]


def one_of(kind: Any) -> Any:
    """A field for a Literal type, described by its values."""
    return Field(description="one of " + ", ".join(get_args(kind)))


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Data(Section):
    source: Annotated[Literal["demo", "folder"], one_of(Literal["demo", "folder"])]
    path: Annotated[str | None, Field(min_length=1, description="a path or URL, or null where the source has none")]
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-fA-F]{64}$", description="64 hex digits in quotes, or null")]
    max_train_samples: CountOrNull
    max_test_samples: CountOrNull
    validation_fraction: Annotated[float, Field(gt=0, lt=1, description="a number between 0 and 1, both excluded")]

    @field_validator("path", "sha256")
    @classmethod
    def fit_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        source, key = info.data.get("source"), f"data.{info.field_name}"
        if source == "folder" and value is None and key == "data.path":
            raise ValueError(f"{key}: missing; data.source 'folder' needs the path or URL of a folder or archive")
        if source == "demo" and value is not None:
            raise ValueError(f"{key}: found {value!r}; data.source 'demo' has none, so null is allowed")
        return value


class Model(Section):
    name: Annotated[str, Field(min_length=1, description="a hub id or a local folder")]
    revision: Annotated[str | None, Field(min_length=1, description="a commit, tag or branch of the hub, or null")]


class Preprocess(Section):
    strip_html: Switch
    max_length: Annotated[int, Field(ge=8, description="a whole number of tokens ≥ 8")]


class Train(Section):
    freeze_layers: Annotated[
        Annotated[int, Field(ge=0)] | Literal["all"], Field(description="a whole number ≥ 0, or all")
    ]
    precision: Annotated[Precision, one_of(Precision)]
    num_train_epochs: Annotated[float, Field(gt=0, allow_inf_nan=False, description="a number > 0")]
    per_device_train_batch_size: Count
    per_device_eval_batch_size: Count
    gradient_accumulation_steps: Count
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False, description="a number > 0")]
    lr_scheduler_type: Annotated[Scheduler, one_of(Scheduler)]
    warmup_steps: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="a number of steps ≥ 1, a share of all steps < 1, or 0")
    ]
    weight_decay: NotNegative
    max_grad_norm: NotNegative
    label_smoothing_factor: Annotated[float, Field(ge=0, lt=1, description="a number ≥ 0 and < 1")]
    class_weights: Annotated[Literal["none", "balanced"], one_of(Literal["none", "balanced"])]
    dataloader_num_workers: Annotated[int, Field(ge=0, description="a whole number ≥ 0")]
    dataloader_pin_memory: Switch
    eval_steps: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="a share of all steps < 1, or a whole number of steps")
    ]
    early_stopping_patience: CountOrNull
    metric_for_best_model: Annotated[Metric, one_of(Metric)]
    logging_steps: Count

    @field_validator("eval_steps")
    @classmethod
    def be_share_or_whole(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"train.eval_steps: found {value}; allowed: a share of all steps < 1, or a whole number")
        return value


class Evaluate(Section):
    precision: Annotated[Precision, one_of(Precision)]
    per_device_eval_batch_size: Count
    num_mistakes: Annotated[int, Field(ge=0, description="a whole number ≥ 0")]


class Tracking(Section):
    experiment: Annotated[str, Field(min_length=1, description="a name")]
    log_model: Switch
    system_metrics: Switch


class Params(Section):
    """All of `params.yaml`. Only entry points see it whole; parts receive their own section."""

    seed: Annotated[int, Field(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")]
    data: Data
    model: Model
    preprocess: Preprocess
    train: Train
    evaluate: Evaluate
    tracking: Tracking

    @classmethod
    def load(cls, path: Path = Path("params.yaml")) -> "Params":
        """Read and check the file; UserError lists every fault with its dotted key."""
        values = read_yaml(path)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = list(dict.fromkeys(describe(fault) for fault in error.errors()))
            lines = "".join(f"\n  {fault}" for fault in faults)
            raise UserError(f"{path}: {len(faults)} fault{'s' * (len(faults) > 1)}{lines}") from None

    def flat(self) -> dict[str, Any]:
        """`{"train.learning_rate": 5e-5, ...}`, as MLflow wants them."""
        values = {"seed": self.seed}
        for section, content in self.model_dump().items():
            if isinstance(content, dict):
                values |= {f"{section}.{key}": value for key, value in content.items()}
        return values


class Yaml12Loader(yaml.SafeLoader):
    """Reads `2e-5` as a number, as YAML 1.2 and DVC do; PyYAML's YAML 1.1 reads it as text."""


Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> Any:
    """Parse a YAML file; UserError names file and line when it cannot be read."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Yaml12Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: missing in {Path.cwd()}; run the stages from the folder that holds it.") from None
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(values, dict):
        found = "an empty file" if values is None else f"a {type(values).__name__}"
        raise UserError(f"{path}: found {found}; expected the keys {', '.join(Params.model_fields)}.")
    return values


def describe(fault: Any) -> str:
    """One line for one of pydantic's errors: dotted key, what was found, what is allowed."""
    if fault["type"] == "value_error":  # our own validators name the key themselves
        return str(fault["ctx"]["error"])
    fields, names = Params.model_fields, []
    field = None
    for part in fault["loc"]:
        names.append(str(part))
        field = fields.get(part)
        fields = getattr(field.annotation, "model_fields", {}) if field else {}
        if not fields:
            break  # what follows is the branch of a union, no key
    key = ".".join(names)
    allowed = (field.description if field else None) or "a section of keys"
    if fault["type"] == "extra_forbidden":
        siblings = Params.model_fields if len(names) == 1 else Params.model_fields[names[0]].annotation.model_fields
        close = difflib.get_close_matches(names[-1], siblings, n=1)
        return f"{key}: unknown key; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(siblings)}")
    if fault["type"] == "missing":
        return f"{key}: missing; allowed: {allowed}"
    return f"{key}: found {fault['input']!r}; allowed: {allowed}"
