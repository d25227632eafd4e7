"""A classifier cut in two: the half that is frozen, and the half that trains."""

import copy
import hashlib
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

import stages.model.attention  # noqa: F401 - registers in_chunks
from stages.core.errors import UserError
from stages.core.files import sha256
from stages.core.hardware import describe_processor
from stages.model.families import find_family
from stages.model.first_token import FirstTokenLayer
from stages.model.freezing import before, find_layers

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# What a config says that the frozen half does not read.
NOT_IN_KEY = {"id2label", "label2id", "num_labels", "problem_type", "architectures", "frozen_layers", "_name_or_path"}
# The code that decides the outputs.
CODE = (
    *("model/attention.py", "model/families.py", "model/first_token.py", "model/freezing.py", "model/partition.py"),
    *("text/batches.py", "training/feature_cache.py"),
)
STAGES = Path(__file__).parent.parent


class PrecomputedInputs(nn.Module):
    """Stands in for the embeddings of a model that is given the outputs of its frozen half as `inputs_embeds`."""

    def forward(self, input_ids: Any = None, inputs_embeds: torch.Tensor | None = None, *_: Any, **__: Any) -> Any:
        return inputs_embeds


class FrozenEncoder:
    """A model's embeddings and first layers, the layers cast once to `dtype`, that compute what the other half reads.

    `key` says all that its outputs depend on but the tokens.
    """

    def __init__(self, model: PreTrainedModel, freeze_layers: int | Literal["all"], dtype: torch.dtype):
        family, layers = find_family(model.config.model_type), frozen_layers(model, freeze_layers)
        half = replaced(model.base_model, family.layers, between(model, 0, layers))
        for name in family.head:
            if hasattr(half, name):
                half = replaced(half, name, None)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype, self.width = dtype, model.config.hidden_size
        self.first_token = layers == len(find_layers(model, 0))  # the head reads nothing else
        self.key = {
            "weights": hash_weights(half),
            "config": {key: value for key, value in model.config.to_dict().items() if matters(key)},
            "layers": layers,
            "dtype": str(dtype),
            "device": describe_processor(),
            "code": [sha256(STAGES / path) for path in CODE],
            "versions": [torch.__version__, transformers.__version__],
        }
        self.model = self.cast(half, len(before(model.base_model, find_layers(model, 0))))
        if self.device.type == "cpu" and dtype == torch.bfloat16:
            self.model.set_attn_implementation("in_chunks")

    def cast(self, half: PreTrainedModel, below: int) -> PreTrainedModel:
        """A copy on the device whose layers are in `dtype`; its embeddings, the first `below` parts, stay as they are.

        They are looked up, not multiplied: in low precision they would save no time, and take memory for a second copy.
        """
        embeddings = list(half.children())[:below]
        kept = {id(weight) for module in embeddings for weight in module.parameters()}
        weights = {
            id(weight): nn.Parameter(weight.detach().to(self.device, None if id(weight) in kept else self.dtype), False)
            for weight in half.parameters()
        }
        copied = copy.deepcopy(half, weights).eval().to(self.device)
        last = list(copied.children())[below - 1]
        last.register_forward_hook(lambda module, inputs, output: output.to(self.dtype))
        return copied

    def __call__(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The batch with `inputs_embeds` in place of its tokens, computed without gradients.

        They are `(B, T, D)`, or `(B, 1, D)` when all layers are frozen. UserError where fp16 cannot hold them.
        """
        tokens = {name: value for name, value in batch.items() if name != "labels"}
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            hidden = self.model(**tokens).last_hidden_state
        check_finite(hidden)
        kept = {"labels"} if self.first_token else {"labels", "attention_mask"}
        return {"inputs_embeds": hidden} | {name: value for name, value in batch.items() if name in kept}


def build_frozen_encoder(
    model: PreTrainedModel, freeze_layers: int | Literal["all"], precision: str
) -> FrozenEncoder | None:
    """What is frozen, in `fp32`, `bf16` or `fp16`; None when that is nothing, or where it ends is not known."""
    if freeze_layers == 0 or not is_partitionable(model):
        return None
    return FrozenEncoder(model, freeze_layers, DTYPES[precision])


def build_trainable_classifier(model: PreTrainedModel, freeze_layers: int | Literal["all"]) -> PreTrainedModel:
    """A view of the model, with the same parameters under their own names, that runs only what comes after the freeze.

    It takes the outputs of the frozen half as `inputs_embeds` or, where nothing is frozen, tokens like the model.
    Its last layer computes only the first token. The model itself, when the family's halves are not known.
    """
    if not is_partitionable(model):
        return model
    encoder, family = model.base_model, find_family(model.config.model_type)
    half = replaced(encoder, family.layers, between(model, frozen_layers(model, freeze_layers), None))
    if freeze_layers != 0:
        below = before(encoder, find_layers(model, 0))
        names = [name for name, module in encoder.named_children() if module in below]
        for name, stand_in in zip(names, (PrecomputedInputs(), nn.Identity()), strict=False):
            half = replaced(half, name, stand_in)
    return replaced(model, model.base_model_prefix, half)


def frozen_layers(model: PreTrainedModel, freeze_layers: int | Literal["all"]) -> int:
    """How many layers are frozen."""
    return len(find_layers(model, 0)) if freeze_layers == "all" else freeze_layers


def between(model: PreTrainedModel, start: int, stop: int | None) -> nn.ModuleList:
    """A part of the model's layers, which keep their names; the model's last computes only the first token."""
    layers, kind = find_layers(model, 0), find_family(model.config.model_type).layer_kind
    last = FirstTokenLayer(layers[-1], kind, model.config.num_attention_heads)
    view = copy.copy(layers)
    view._modules = dict(list(zip(layers._modules, [*layers[:-1], last], strict=True))[start:stop])
    return view


def is_partitionable(model: PreTrainedModel) -> bool:
    """Whether where the layers are and what the head reads is known."""
    return find_family(model.config.model_type).layer_kind is not None and not getattr(
        model.config, "is_decoder", False
    )


def replaced(module: nn.Module, path: str, part: nn.Module | None) -> nn.Module:
    """A copy of `module` that has `part` at `path` and shares everything else with it."""
    name, _, rest = path.partition(".")
    view = copy.copy(module)
    view._modules = module._modules | {name: replaced(module.get_submodule(name), rest, part) if rest else part}
    return view


def matters(key: str) -> bool:
    """Whether a key of a config has a say in what the frozen half computes; dropout has none there."""
    return key not in NOT_IN_KEY and "dropout" not in key


def check_finite(hidden: torch.Tensor) -> None:
    if hidden.dtype == torch.float16 and not hidden.isfinite().all():
        raise UserError("precision: the frozen layers' outputs are beyond what fp16 can hold; use bf16 or fp32.")


def hash_weights(model: PreTrainedModel) -> str:
    """SHA-256 of names and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.contiguous().cpu().view(torch.uint8).numpy())
    return digest.hexdigest()
