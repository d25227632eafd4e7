"""Views of a model: copies that share its modules and parameters, with some of its parts left out or replaced."""

import copy
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from stages.model.families import Family, find_family
from stages.model.first_token import FirstTokenLayer
from stages.model.freezing import find_layers, find_modules_before_layers, find_submodule
from stages.model.pooling import find_pooling

ModuleType = TypeVar("ModuleType", bound=nn.Module)


class PrecomputedInputs(nn.Module):
    """Stands in for the embeddings of a model whose `inputs_embeds` are the features of its frozen encoder."""

    def forward(self, input_ids: Any = None, inputs_embeds: torch.Tensor | None = None, *_: Any, **__: Any) -> Any:
        return inputs_embeds


class NoLayers(nn.Module):
    """Stands in for layers that all are skipped, in encoders that cannot run without one."""

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        return hidden_states, None


def find_path_of_layers(model: PreTrainedModel) -> str:
    """Path, in the base model, of the list of layers, or of all layers as one module; empty when it is not known."""
    family = find_family(model.config.model_type)
    return family.layers or family.encoder or ""


def shorten_last_layer(model: PreTrainedModel) -> PreTrainedModel:
    """A view of the model's encoder whose last layer computes only the first token, where the head reads no other.

    The layer stays as it is in families whose layers are of an unknown kind, and where what runs after the first layer
    needs all tokens, and the first layer is the last one.
    """
    encoder, family = model.base_model, find_family(model.config.model_type)
    assert isinstance(encoder, PreTrainedModel)
    if family.layer_kind is None or family.layers is None or find_pooling(model.config) != "first":
        return encoder
    layers = find_layers(model, 0)
    if len(layers) == 1 and any(find_submodule(encoder, path) for path in family.used_by_first_layer):
        return encoder
    last = FirstTokenLayer(layers[-1], family.layer_kind, model.config.num_attention_heads)
    return replace_submodule(encoder, f"{family.layers}.{len(layers) - 1}", last)


def select_layers(encoder: PreTrainedModel, family: Family, start: int, stop: int | None) -> PreTrainedModel:
    """A view of an encoder with layers `start` to `stop` alone, which keep their names and parameters."""
    if family.layers is None:
        assert family.encoder is not None  # as is_partitionable says
        return encoder if start == 0 else replace_submodule(encoder, family.encoder, NoLayers())
    selected = copy.copy(encoder.get_submodule(family.layers))
    selected._modules = dict(list(selected._modules.items())[start:stop])
    if not selected._modules and family.needs_a_layer:
        selected._modules = {"none": NoLayers()}
    encoder = replace_submodule(encoder, family.layers, selected)
    if start > 0:
        for path in family.used_by_first_layer:
            if find_submodule(encoder, path):
                encoder = replace_submodule(encoder, path, None)
    return encoder


def skip_after_layers(encoder: PreTrainedModel, family: Family) -> PreTrainedModel:
    """A view of an encoder without what runs between its layers and the head."""
    for name in family.after_layers:
        encoder = replace_submodule(encoder, name, nn.Identity())
    return encoder


def find_names_before_layers(model: PreTrainedModel) -> list[str]:
    """Names, in the base model, of the modules that run before the layers."""
    layers = model.base_model.get_submodule(find_path_of_layers(model))
    before = find_modules_before_layers(model.base_model, layers)
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
