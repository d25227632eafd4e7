"""Where the frozen part of a model ends."""

from types import MethodType
from typing import Literal

from torch import nn
from transformers import PreTrainedModel

from stages.lib.errors import UserError

# Where families keep their layers: BERT, RoBERTa, ELECTRA; DistilBERT; ModernBERT.
LAYER_PATHS = ("encoder.layer", "transformer.layer", "layers")
HEAD_PARTS = ("pooler",)


def freeze(model: PreTrainedModel, freeze_layers: int | Literal["all"]) -> None:
    """Freeze the embeddings and the first `freeze_layers` layers in place; 0 freezes nothing.

    `all` freezes everything before the head; BERT's pooler counts as head, since it reads the first token only.
    Frozen parts have no gradients and stay in evaluation mode, without dropout, while the rest trains.
    UserError when the model has fewer layers, or none that can be found.
    """
    if freeze_layers == 0:
        return
    encoder, layers = model.base_model, find_layers(model)
    if layers is None:
        raise UserError(
            f"train.freeze_layers: found {freeze_layers}; the layers of a {type(model).__name__} cannot be found "
            f"(looked for {', '.join(LAYER_PATHS)}), so only 0 is allowed."
        )
    if freeze_layers == "all":
        frozen = [module for name, module in encoder.named_children() if name not in HEAD_PARTS]
    elif freeze_layers > len(layers):
        raise UserError(
            f"train.freeze_layers: found {freeze_layers}; this model has {len(layers)} layers, so 0 to {len(layers)} "
            "or all are allowed."
        )
    else:
        frozen = [*before(encoder, layers), *layers[:freeze_layers]]
    for module in frozen:
        module.requires_grad_(False)
        keep_in_eval(module)


def find_layers(model: PreTrainedModel) -> nn.ModuleList | None:
    """The encoder's list of layers, first to last; None when it is not where known families have it."""
    for path in LAYER_PATHS:
        try:
            layers = model.base_model.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(layers, nn.ModuleList):
            return layers
    return None


def before(encoder: nn.Module, layers: nn.ModuleList) -> list[nn.Module]:
    """What the encoder computes before its layers: the embeddings and, in ELECTRA, their projection."""
    children = list(encoder.children())
    first = next(index for index, child in enumerate(children) if layers in child.modules())
    return children[:first]


def keep_in_eval(module: nn.Module) -> None:
    """Make `module.train()`, which Trainer calls in every step on the whole model, stop here."""
    module.eval()
    module.train = MethodType(lambda self, mode=True: self, module)


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Numbers of trainable and of all parameters."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {
        "trainable_parameters": sum(size for size, trainable in sizes if trainable),
        "total_parameters": sum(size for size, _ in sizes),
    }
