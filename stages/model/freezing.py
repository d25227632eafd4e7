"""Freezing: which parameters of a classifier train, and which keep their pretrained values."""

from types import MethodType

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from stages.core.errors import UserError
from stages.core.param_types import FreezeLayers
from stages.model.families import find_family


def freeze(model: PreTrainedModel, freeze_layers: FreezeLayers) -> None:
    """Freeze the embeddings and the first `freeze_layers` layers in place; 0 freezes nothing.

    `all` freezes everything before the head; BERT's pooler counts as head, because it reads only the first token.
    ModernBERT's norm after the layers is frozen by `all`, and trains even when all layers are frozen by their number.
    Frozen parts have no gradients and stay in evaluation mode, without dropout, while the rest trains. The value is
    saved in the model's config as `frozen_layers`.
    UserError when the model has fewer layers, or none that can be frozen one by one.
    """
    model.config.frozen_layers = freeze_layers
    if freeze_layers == 0:
        return
    encoder, family = model.base_model, find_family(model.config.model_type)
    if freeze_layers == "all":
        frozen = [module for name, module in encoder.named_children() if name not in family.head]
    else:
        layers = find_layers(model, freeze_layers)
        paths = (*family.used_by_all_layers, *family.used_by_first_layer)
        shared = [module for path in paths if (module := find_submodule(encoder, path))]
        frozen = [*find_modules_before_layers(encoder, layers), *shared, *layers[:freeze_layers]]
    for module in frozen:
        module.requires_grad_(False)
        keep_in_eval(module)


def find_layers(model: PreTrainedModel, freeze_layers: int) -> nn.ModuleList:
    """The encoder's list of layers, first to last; UserError when the first `freeze_layers` cannot be frozen."""
    key, family = f"train.freeze_layers: found {freeze_layers}", find_family(model.config.model_type)
    if family.layers is None:
        raise UserError(f"{key}; {family.no_freezing}, so only 0 and all are allowed.")
    layers = model.base_model.get_submodule(family.layers)
    assert isinstance(layers, nn.ModuleList)
    if freeze_layers > len(layers):
        raise UserError(f"{key}; this model has {len(layers)} layers, so 0 to {len(layers)} or all are allowed.")
    return layers


def find_submodule(module: nn.Module, path: str) -> nn.Module | None:
    """The submodule at a path; None when there is none, as with parts that a config can leave out."""
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


def find_modules_before_layers(encoder: nn.Module, layers: nn.Module) -> list[nn.Module]:
    """The modules that run before the layers: the embeddings and, in ELECTRA, their projection."""
    children = list(encoder.children())
    first = next(index for index, child in enumerate(children) if layers in child.modules())
    return children[:first]


def keep_in_eval(module: nn.Module) -> None:
    """Keep a module in evaluation mode: Trainer calls `train()` on the complete model in every step."""
    module.eval()
    # In the module's own dict, where it hides the method of its class.
    vars(module)["train"] = MethodType(lambda self, mode=True: self, module)


def count_trained_layers(config: PreTrainedConfig, freeze_layers: FreezeLayers) -> int:
    """The number of layers that are not frozen; 0 where only the head trains."""
    return 0 if freeze_layers == "all" else config.num_hidden_layers - freeze_layers


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Numbers of trainable and of all parameters, as `metrics/train.json` has them."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {
        "trainable_parameters": sum(size for size, trainable in sizes if trainable),
        "total_parameters": sum(size for size, _ in sizes),
    }
