"""How families of models differ: the one table that freezing, dropout and the longest input are read from."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Family:
    """Names of the parts of models with one `model_type`; the defaults are BERT's. Paths are in the base model."""

    layers: str | None = "encoder.layer"  # path of the layer list; None: see no_freezing
    no_freezing: str = ""  # why layers cannot be frozen one by one
    encoder: str | None = None  # where `layers` is None: path of all layers, which are frozen as one
    used_by_all_layers: tuple[str, ...] = ()  # paths of modules outside of the layers that each layer uses
    used_by_first_layer: tuple[str, ...] = ()  # paths of modules outside of the layers that the first layer alone uses
    after_layers: tuple[str, ...] = ()  # names of modules between the layers and the head; only `all` freezes them
    head: tuple[str, ...] = ("pooler",)  # parts of the base model that belong to the head
    head_dropout: str | None = "classifier_dropout"  # key of the config; None: that of the layers is the head's too
    pooling: str = "pooling"  # key of the config that says what the head reads; without it, the first token
    positions_after_padding: bool = False  # position embeddings start after the padding index
    layer_kind: Literal["bert", "distilbert", "mpnet", "deberta", "modernbert"] | None = "bert"  # see first_token.py
    has_own_attention: bool = False  # its attention cannot be replaced through transformers' AttentionInterface
    needs_full_batches: bool = False  # see batch_invariance.fill_up_batch
    needs_a_layer: bool = False  # its encoder fails when it has no layers


ROBERTA = Family(positions_after_padding=True)
FAMILIES = {
    "albert": Family(
        layers=None,
        no_freezing="all layers of ALBERT share one set of weights",
        encoder="encoder",
        head_dropout="classifier_dropout_prob",
        layer_kind=None,
    ),
    "bert": Family(),
    "camembert": ROBERTA,
    "deberta-v2": Family(
        used_by_all_layers=("encoder.rel_embeddings", "encoder.LayerNorm"),
        used_by_first_layer=("encoder.conv",),
        head_dropout="cls_dropout",
        layer_kind="deberta",
        has_own_attention=True,
        needs_full_batches=True,
        needs_a_layer=True,
    ),
    "distilbert": Family(layers="transformer.layer", head_dropout="seq_classif_dropout", layer_kind="distilbert"),
    "electra": Family(),
    "ernie": Family(),
    "modernbert": Family(
        layers="layers",
        after_layers=("final_norm",),
        pooling="classifier_pooling",
        layer_kind="modernbert",
        needs_full_batches=True,
    ),
    "mpnet": Family(
        used_by_all_layers=("encoder.relative_attention_bias",),
        head_dropout=None,
        positions_after_padding=True,
        layer_kind="mpnet",
        has_own_attention=True,
        needs_full_batches=True,
    ),
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
}


def find_family(model_type: str | None) -> Family:
    """The family's row; for a family that is not in the table, a row with which freezing layers is an error."""
    unknown = f"where a model of type '{model_type}' keeps its layers is not known (known: {', '.join(FAMILIES)})"
    return FAMILIES.get(model_type or "") or Family(layers=None, no_freezing=unknown, layer_kind=None)
