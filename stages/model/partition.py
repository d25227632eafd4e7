"""A classifier in two parts: the frozen encoder, and the classifier that trains on the encoder's features."""

import copy
import hashlib
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from stages.core.errors import UserError
from stages.core.files import sha256
from stages.core.hardware import describe_processor
from stages.core.param_types import FreezeLayers, Pooling
from stages.model.attention import use_chunked_attention
from stages.model.batch_invariance import WholeBlocks, fill_up_batch
from stages.model.families import Family, find_family
from stages.model.freezing import find_layers
from stages.model.pooling import find_pooling, pool
from stages.model.views import (
    find_names_before_layers,
    find_path_of_layers,
    replace_embeddings,
    replace_submodule,
    select_layers,
    shorten_last_layer,
    skip_after_layers,
)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Keys of a config that do not affect a frozen encoder's features; nor do those of dropout, which is off in evaluation.
NOT_IN_KEY = {
    *("id2label", "label2id", "num_labels", "problem_type", "architectures", "frozen_layers", "_name_or_path"),
    *("calibration_temperature", "thresholds"),  # fitted to the head
    *("pooling", "classifier_pooling"),  # `key_at` has them where they matter
    "use_cache",  # is about decoders; Trainer sets it, so that a trained model has another one than the base model
}
# The code files that compute the features, seen from `stages`: a change in one of them makes cached features invalid.
CODE = (
    *("model/attention.py", "model/families.py", "model/first_token.py", "model/freezing.py", "model/partition.py"),
    *("model/batch_invariance.py", "model/pooling.py", "model/views.py", "text/batches.py"),
    *("text/padding.py", "training/cached_features.py", "training/feature_cache.py", "training/feature_store.py"),
)
STAGES = Path(__file__).parent.parent


class FrozenEncoder:
    """A model's embeddings and frozen layers, which compute the features that the trainable classifier reads.

    The layers are cast to `dtype` once. `depth` is the number of frozen layers; those of ALBERT count as one. `pooled`
    says that the features of a row are one vector, all that the head reads, as when all layers are frozen.
    """

    def __init__(self, model: PreTrainedModel, freeze_layers: FreezeLayers, dtype: torch.dtype):
        self.family = family = find_family(model.config.model_type)
        self.depth = count_frozen_layers(model, freeze_layers)
        self.pooling = find_frozen_pooling(model, freeze_layers)
        self.pooled = self.pooling is not None
        encoder = select_layers(shorten_last_layer(model), family, 0, self.depth)
        for name in family.head:
            if hasattr(encoder, name):
                encoder = replace_submodule(encoder, name, None)
        if freeze_layers != "all":
            encoder = skip_after_layers(encoder, family)
        self.embeddings = find_names_before_layers(model)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype, self.width = dtype, model.config.hidden_size
        self.weights = hash_weights(encoder, family)
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
        if self.device.type == "cpu" and dtype == torch.bfloat16 and not family.has_own_attention:
            use_chunked_attention(self.model)

    def key_at(self, depth: int) -> dict[str, Any]:
        """All that the outputs of the first `depth` layers depend on, except for the tokens; equal in deeper encoders.

        The features' own key is that at `self.depth`.
        """
        pooling = self.pooling if depth == self.depth else None
        return self.computed_by | {"weights": self.weights[depth], "layers": depth, "pooling": pooling}

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
            rows = len(next(iter(inputs.values())))
            inputs = fill_up_batch(inputs, model)
            features = model(**inputs).last_hidden_state
            if self.pooling is not None:
                features = pool(features, inputs.get("attention_mask"), self.pooling)
            features = features[:rows]
        check_finite(features)
        unchanged = {"labels"} if self.pooled else {"labels", "attention_mask"}
        return {"inputs_embeds": features} | {name: value for name, value in batch.items() if name in unchanged}

    def skip_layers(self, start: int) -> PreTrainedModel:
        """A view of the encoder that takes the outputs of its first `start` layers."""
        return replace_embeddings(select_layers(self.model, self.family, start, None), self.embeddings)


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
    Its last layer computes only the first token, where the head reads nothing else. For families that cannot be
    partitioned it is the model itself.
    """
    if not is_partitionable(model):
        return model
    family = find_family(model.config.model_type)
    encoder = select_layers(shorten_last_layer(model), family, count_frozen_layers(model, freeze_layers), None)
    if freeze_layers != 0:
        encoder = replace_embeddings(encoder, find_names_before_layers(model))
    if freeze_layers == "all":
        encoder = skip_after_layers(encoder, family)
    return replace_submodule(model, model.base_model_prefix, encoder)


def is_partitionable(model: PreTrainedModel) -> bool:
    """Whether it is known where the layers of the model's family are, and that they read texts in both directions."""
    return bool(find_path_of_layers(model)) and not getattr(model.config, "is_decoder", False)


def count_frozen_layers(model: PreTrainedModel, freeze_layers: FreezeLayers) -> int:
    """The number of frozen layers; layers that can be frozen only together count as one."""
    if freeze_layers != "all":
        return freeze_layers
    return len(find_layers(model, 0)) if find_family(model.config.model_type).layers else 1


def find_frozen_pooling(model: PreTrainedModel, freeze_layers: FreezeLayers) -> Pooling | None:
    """How the frozen encoder pools its features; None when layers train, or the head reads all tokens."""
    pooling = find_pooling(model.config)
    if count_frozen_layers(model, freeze_layers) < count_frozen_layers(model, "all"):
        return None
    norm_trains = freeze_layers != "all" and find_family(model.config.model_type).after_layers
    return None if pooling == "mean" and norm_trains else pooling  # the mean is that of the norm's outputs


def check_finite(features: torch.Tensor) -> None:
    if features.dtype == torch.float16 and not features.isfinite().all():
        raise UserError("precision: the frozen layers' outputs are beyond what fp16 can hold; use bf16 or fp32.")


def hash_weights(encoder: nn.Module, family: Family) -> list[str]:
    """SHA-256 of names, shapes, types and values of an encoder's parameters and buffers, for each depth.

    That at depth N is of all that is not in the layers and of the first N layers; what runs after the layers counts as
    part of the last one.
    """
    parts: list[tuple[str, ...]] = [(f"{family.encoder}.",)]
    if family.layers is not None:
        parts = [(f"{family.layers}.{name}.",) for name, _ in encoder.get_submodule(family.layers).named_children()]
    parts[-1] += tuple(f"{name}." for name in family.after_layers)
    in_parts = tuple(prefix for part in parts for prefix in part)
    values = encoder.state_dict()
    digest, digests = hashlib.sha256(), []
    for part in ((), *parts):
        for name, value in sorted(values.items()):
            if name.startswith(part) if part else not name.startswith(in_parts):
                digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
                digest.update(value.contiguous().cpu().view(torch.uint8).numpy())
        digests.append(digest.hexdigest())
    return digests
