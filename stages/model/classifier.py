"""The classifier: an encoder with a head, built from a base model, or loaded after `train` saved it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from stages.core.errors import UserError
from stages.core.param_types import FreezeLayers
from stages.core.problem_type import SINGLE_LABEL, ProblemType
from stages.model.families import find_family
from stages.model.folder import choose_pooling, read_config

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

OWN_KEYS = {"calibration_temperature", "thresholds", "is_ordinal"}  # of a config: what is said of its own head


def build_classifier(
    base: Path,
    labels: list[str],
    tokenizer: "PreTrainedTokenizerBase",
    freeze_layers: FreezeLayers = 0,
    problem_type: ProblemType = SINGLE_LABEL,
    is_ordinal: bool = False,
) -> "PreTrainedModel":
    """The encoder with a new head of `len(labels)` outputs; torch's random state decides all new weights.

    The label names are saved in the config, from which the served model reads them. `freeze_layers` layers will be
    frozen, which may decide what the head reads. `is_ordinal` says that the labels have an order, the lowest first.
    """
    head: dict[str, Any] = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": problem_type,
    }
    if is_ordinal:
        head["is_ordinal"] = True
    if pooling := choose_pooling(base, freeze_layers):
        key = find_family(read_config(base)["model_type"]).pooling
        head[key] = "cls" if key == "classifier_pooling" and pooling == "first" else pooling  # ModernBERT's name for it
    if any(base.glob("*.safetensors")):
        return load_model(base, new_head=True, **head)
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base)
    config.update(head | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id})
    return make_classifier(config)


def make_classifier(config: "PreTrainedConfig") -> "PreTrainedModel":
    """A classifier with random weights, of the class that `config` asks for."""
    from transformers import AutoModelForSequenceClassification

    from stages.model.mean_pooling import is_mean_pooled, make_mean_pooling

    if is_mean_pooled(config):
        return make_mean_pooling(config)(config)
    return AutoModelForSequenceClassification.from_config(config)


def save_classifier(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Write weights, config and tokenizer, as users of `transformers` or `sentence-transformers` would load them."""
    from stages.model.mean_pooling import is_mean_pooled, save_mean_pooled

    if is_mean_pooled(model.config):
        save_mean_pooled(model, tokenizer.model_max_length, folder)
    else:
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_classifier(folder: Path) -> "PreTrainedModel":
    """The classifier that `train` saved, or another of a public library; UserError when files are missing or broken."""
    return load_model(folder, new_head=False)


def load_model(folder: Path, new_head: bool, **changes: Any) -> "PreTrainedModel":
    """The text classifier of a folder in fp32, its config with changes; UserError when files are missing or broken.

    With `new_head` only the base model is loaded; torch's random state decides the rest.
    """
    import torch
    import transformers

    from stages.model.mean_pooling import is_mean_pooled, read_mean_pooled

    # No warning that the head's weights are new, which is intended; no progress bar for part of a second.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # Absolute, because MLflow searches the hub for a relative path when the model is logged.
    path = folder.resolve()
    try:
        config = transformers.AutoConfig.from_pretrained(path, output_hidden_states=False)
        if new_head:  # what `train` fitted to the head of an earlier classifier, which is the base model now
            for key in OWN_KEYS & vars(config).keys():
                delattr(config, key)
        config.update(changes)
        with torch.device("meta"):  # its class and names alone: takes no memory, and draws no random numbers
            outline: Any = make_classifier(config)  # Any, because from_pretrained returns a pair here
        if new_head:
            weights = read_without_head(path, outline)
        else:
            weights = read_mean_pooled(path, outline) if is_mean_pooled(config) else None
        model, report = type(outline).from_pretrained(
            path if weights is None else None,
            config=config,
            state_dict=weights,
            dtype="float32",
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # check_weights reports them
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be loaded as a text classifier: {error}") from None
    check_weights(folder, model, report, new_head)
    return model


def read_without_head(folder: Path, model: "PreTrainedModel") -> "dict[str, torch.Tensor] | None":
    """The weights of a base model that has a head for another task, without that head; None when it has none.

    A head with the same number of labels has the shapes of the new one: Transformers would keep it under the new names.
    """
    head = tuple(f"{name}." for name, _ in model.named_children() if name != model.base_model_prefix)
    weights, has_head = {}, False
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:  # tensors are mapped, and read when they are used
            for name in file.keys():  # noqa: SIM118 # it is no dict
                if name.startswith(head):
                    has_head = True
                else:
                    weights[name] = file.get_tensor(name)
    return weights if has_head else None


def check_weights(folder: Path, model: "PreTrainedModel", report: dict[str, Any], new_head: bool) -> None:
    """UserError when weights are missing or have another shape than in the config: they would be random.

    With `new_head` this is allowed for the head and for the pooler, which models made for another task do not have.
    """
    problems = dict.fromkeys(report["missing_keys"], "missing")
    problems |= {name: f"{list(found)}, not {list(expected)}" for name, found, expected in report["mismatched_keys"]}
    if new_head:
        prefix = f"{model.base_model_prefix}."
        head = tuple(f"{prefix}{part}." for part in find_family(model.config.model_type).head)
        problems = {
            name: problem for name, problem in problems.items() if name.startswith(prefix) and not name.startswith(head)
        }
    if problems:
        name = min(problems)
        others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{folder}: weights and config.json do not fit together: {name} is {problems[name]}{others}.")
