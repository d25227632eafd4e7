"""A classifier in two parts: the frozen encoder, and the classifier that trains on the encoder's features."""

import copy
import hashlib
from pathlib import Path
from typing import Any, TypeVar

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from stages.core.errors import UserError
from stages.core.files import sha256
from stages.core.hardware import describe_processor
from stages.core.param_types import FreezeLayers
from stages.model.attention import use_chunked_attention
from stages.model.batch_invariance import WholeBlocks
from stages.model.families import find_family
from stages.model.first_token import FirstTokenLayer
from stages.model.freezing import find_layers, find_modules_before_layers

ModuleType = TypeVar("ModuleType", bound=nn.Module)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Keys of a config that do not affect a frozen encoder's features; nor do those of dropout, which is off in evaluation.
NOT_IN_KEY = {"id2label", "label2id", "num_labels", "problem_type", "architectures", "frozen_layers", "_name_or_path"}
# The code files that compute the features, seen from `stages`: a change in one of them makes cached features invalid.
CODE = (
    *("model/attention.py", "model/families.py", "model/first_token.py", "model/freezing.py", "model/partition.py"),
    *("model/batch_invariance.py", "text/batches.py", "training/feature_cache.py"),
)
STAGES = Path(__file__).parent.parent


class FrozenEncoder:
    """A model's embeddings and frozen layers, which compute the features that the trainable classifier reads.

    The layers are cast to `dtype` once. `depth` is the number of frozen layers. `pooled` says that the features of a
    row are one vector, all that the head reads, as when all layers are frozen.
    """

    def __init__(self, model: PreTrainedModel, freeze_layers: FreezeLayers, dtype: torch.dtype):
        self.depth = count_frozen_layers(model, freeze_layers)
        self.pooled = self.depth == len(find_layers(model, 0))  # the head reads only the first token
        encoder = select_layers(model, 0, self.depth)
        family = find_family(model.config.model_type)
        for name in family.head:
            if hasattr(encoder, name):
                encoder = replace_submodule(encoder, name, None)
        assert family.layers is not None
        self.layers, self.embeddings = family.layers, find_names_before_layers(model)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype, self.width = dtype, model.config.hidden_size
        self.weights = hash_weights(encoder, family.layers)
        self.computed_by = {
            "config": {
                key: value
                for key, value in model.config.to_dict().items()
                if key not in NOT_IN_KEY and "dropout" not in key
            },
            "dtype": str(dtype),
            "device": describe_processor(),
            "code": [sha256(STAGES / path) for path in CODE],
            "versions": [torch.__version__, transformers.__version__],
        }
        self.model = self.cast(encoder)
        if self.device.type == "cpu" and dtype == torch.bfloat16:
            use_chunked_attention(self.model)

    def key_at(self, depth: int) -> dict[str, Any]:
        """All that the outputs of the first `depth` layers depend on, except for the tokens; equal in deeper encoders.

        The features' own key is that at `self.depth`.
        """
        pooled = self.pooled and depth == self.depth
        return self.computed_by | {"weights": self.weights[depth], "layers": depth, "pooled": pooled}

    def cast(self, encoder: PreTrainedModel) -> PreTrainedModel:
        """A copy on the device with its layers in `dtype`; its embeddings, the first modules, keep their type.

        Embeddings are looked up and not multiplied: casting them would save no time, and take memory for a second copy.
        """
        embeddings = [encoder.get_submodule(name) for name in self.embeddings]
        uncast = {id(weight) for module in embeddings for weight in module.parameters()}
        weights: dict[int, Any] = {}  # deepcopy takes these in place of the originals
        for weight in encoder.parameters():
            dtype = None if id(weight) in uncast else self.dtype
            weights[id(weight)] = nn.Parameter(weight.detach().to(self.device, dtype), requires_grad=False)
        copied = copy.deepcopy(encoder, weights).eval().to(self.device)
        last_embedding = copied.get_submodule(self.embeddings[-1])
        last_embedding.register_forward_hook(lambda module, inputs, output: output.to(self.dtype))
        return copied

    def __call__(self, batch: dict[str, torch.Tensor], start: int = 0) -> dict[str, torch.Tensor]:
        """The batch with features as `inputs_embeds` in place of its tokens, computed without gradients.

        They are `(B, T, D)`, or `(B, 1, D)` when they are pooled. Where `start` is not 0, the batch has the outputs of
        the first `start` layers, `(B, T, D)`, as `inputs_embeds`, and only the layers after them run. UserError when
        fp16 overflows.
        """
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        model = self.model if start == 0 else self.skip_layers(start)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False), WholeBlocks():
            features = model(**inputs).last_hidden_state
        check_finite(features)
        unchanged = {"labels"} if self.pooled else {"labels", "attention_mask"}
        return {"inputs_embeds": features} | {name: value for name, value in batch.items() if name in unchanged}

    def skip_layers(self, start: int) -> PreTrainedModel:
        """A view of the encoder that takes the outputs of its first `start` layers."""
        layers = copy.copy(self.model.get_submodule(self.layers))
        layers._modules = dict(list(layers._modules.items())[start:])
        return replace_embeddings(replace_submodule(self.model, self.layers, layers), self.embeddings)


class PrecomputedInputs(nn.Module):
    """Stands in for the embeddings of a model whose `inputs_embeds` are the features of its frozen encoder."""

    def forward(self, input_ids: Any = None, inputs_embeds: torch.Tensor | None = None, *_: Any, **__: Any) -> Any:
        return inputs_embeds


def build_frozen_encoder(model: PreTrainedModel, freeze_layers: FreezeLayers, precision: str) -> FrozenEncoder | None:
    """The model's frozen encoder in `fp32`, `bf16` or `fp16`.

    None when nothing is frozen, and for families of which it is not known where the frozen layers end.
    """
    if freeze_layers == 0 or not is_partitionable(model):
        return None
    return FrozenEncoder(model, freeze_layers, DTYPES[precision])


def build_trainable_classifier(model: PreTrainedModel, freeze_layers: FreezeLayers) -> PreTrainedModel:
    """A view of the model that runs only what is not frozen; it has the same parameters under the same names.

    It takes the features of the frozen encoder as `inputs_embeds` or, when nothing is frozen, tokens like the model.
    Its last layer computes only the first token. For families that cannot be partitioned it is the model itself.
    """
    if not is_partitionable(model):
        return model
    encoder = select_layers(model, count_frozen_layers(model, freeze_layers), None)
    if freeze_layers != 0:
        encoder = replace_embeddings(encoder, find_names_before_layers(model))
    return replace_submodule(model, model.base_model_prefix, encoder)


def is_partitionable(model: PreTrainedModel) -> bool:
    """Whether it is known of the model's family where its layers are and that its head reads only the first token."""
    is_decoder = getattr(model.config, "is_decoder", False)
    return find_family(model.config.model_type).layer_kind is not None and not is_decoder


def count_frozen_layers(model: PreTrainedModel, freeze_layers: FreezeLayers) -> int:
    return len(find_layers(model, 0)) if freeze_layers == "all" else freeze_layers


def select_layers(model: PreTrainedModel, start: int, stop: int | None) -> PreTrainedModel:
    """A view of the model's encoder with layers `start` to `stop` alone, which keep their names and parameters.

    The model's last layer, where it is among them, computes only the first token.
    """
    encoder, family, layers = model.base_model, find_family(model.config.model_type), find_layers(model, 0)
    assert isinstance(encoder, PreTrainedModel)
    assert family.layers is not None
    assert family.layer_kind is not None  # as is_partitionable says
    last = FirstTokenLayer(layers[-1], family.layer_kind, model.config.num_attention_heads)
    selected = copy.copy(layers)
    selected._modules = dict(list(zip(layers._modules, [*layers[:-1], last], strict=True))[start:stop])
    return replace_submodule(encoder, family.layers, selected)


def find_names_before_layers(model: PreTrainedModel) -> list[str]:
    """Names, in the base model, of the modules that run before the layers."""
    before = find_modules_before_layers(model.base_model, find_layers(model, 0))
    return [name for name, module in model.base_model.named_children() if module in before]


def replace_embeddings(encoder: PreTrainedModel, names: list[str]) -> PreTrainedModel:
    """A view of an encoder that takes as `inputs_embeds` what its first layer takes, in place of tokens."""
    for name, stand_in in zip(names, (PrecomputedInputs(), nn.Identity()), strict=False):
        encoder = replace_submodule(encoder, name, stand_in)
    return encoder


def replace_submodule(module: ModuleType, path: str, part: nn.Module | None) -> ModuleType:
    """Return a copy of `module` with `part` at `path`; all other submodules and parameters are shared, not copied."""
    name, _, rest = path.partition(".")
    view = copy.copy(module)
    replacement = replace_submodule(module.get_submodule(name), rest, part) if rest else part
    view._modules = module._modules | {name: replacement}
    return view


def check_finite(features: torch.Tensor) -> None:
    if features.dtype == torch.float16 and not features.isfinite().all():
        raise UserError("precision: the frozen layers' outputs are beyond what fp16 can hold; use bf16 or fp32.")


def hash_weights(encoder: nn.Module, layers: str) -> list[str]:
    """SHA-256 of names, shapes, types and values of an encoder's parameters and buffers, for each depth.

    That at depth N is of all that is not in the layers and of the first N layers; `layers` is the path of their list.
    """
    values = encoder.state_dict()
    prefixes = ["", *(f"{layers}.{name}." for name, _ in encoder.get_submodule(layers).named_children())]
    digest, digests = hashlib.sha256(), []
    for prefix in prefixes:
        for name, value in sorted(values.items()):
            if name.startswith(prefix or f"{layers}.") != bool(prefix):
                continue
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            digest.update(value.contiguous().cpu().view(torch.uint8).numpy())
        digests.append(digest.hexdigest())
    return digests
