"""The classifier: an encoder with a head, built from a base model, or loaded after `train` saved it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from stages.core.errors import UserError
from stages.model.families import find_family

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def build_classifier(base: Path, labels: list[str], tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedModel":
    """The encoder with a new head of `len(labels)` outputs; torch's random state decides all new weights.

    The label names are saved in the config, from which the served model reads them.
    """
    head = {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": "single_label_classification",
    }
    if any(base.glob("*.safetensors")):
        return load_model(base, new_head=True, **head)
    from transformers import AutoConfig, AutoModelForSequenceClassification

    vocabulary = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.from_pretrained(base, **head, **vocabulary)
    return AutoModelForSequenceClassification.from_config(config)


def load_classifier(folder: Path) -> "PreTrainedModel":
    """The classifier that `train` saved, loaded with the public functions of `transformers`."""
    return load_model(folder, new_head=False)


def load_model(folder: Path, new_head: bool, **config: Any) -> "PreTrainedModel":
    """`AutoModelForSequenceClassification.from_pretrained` in fp32; UserError when files are missing or broken."""
    import transformers

    # No warning that the head's weights are new, which is intended; no progress bar for part of a second.
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        # Absolute, because MLflow searches the hub for a relative path when the model is logged.
        model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder.resolve(),
            dtype="float32",
            use_safetensors=True,
            output_hidden_states=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # check_weights reports them
            **config,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be loaded as a text classifier: {error}") from None
    check_weights(folder, model, report, new_head)
    return model


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
