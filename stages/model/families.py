"""How families of models differ: the one table that freezing, dropout and the longest input are read from."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Family:
    """Names of the parts of models with one `model_type`; the defaults are BERT's."""

    layers: str | None = "encoder.layer"  # path of the layer list in the base model; None: see no_freezing
    no_freezing: str = ""  # why layers cannot be frozen one by one
    used_by_all_layers: tuple[str, ...] = ()  # paths of modules outside of the layers that each layer uses
    head: tuple[str, ...] = ("pooler",)  # parts of the base model that belong to the head
    head_dropout: str = "classifier_dropout"  # key of the config
    positions_after_padding: bool = False  # position embeddings start after the padding index
    layer_kind: Literal["bert", "distilbert"] | None = "bert"  # of first_token.PROJECTIONS; None: not partitionable


ROBERTA = Family(positions_after_padding=True)
FAMILIES = {
    "albert": Family(
        layers=None,
        no_freezing="all layers of ALBERT share one set of weights",
        head_dropout="classifier_dropout_prob",
        layer_kind=None,
    ),
    "bert": Family(),
    "camembert": ROBERTA,
    "deberta-v2": Family(
        used_by_all_layers=("encoder.rel_embeddings", "encoder.LayerNorm", "encoder.conv"),
        head_dropout="cls_dropout",
        layer_kind=None,
    ),
    "distilbert": Family(layers="transformer.layer", head_dropout="seq_classif_dropout", layer_kind="distilbert"),
    "electra": Family(),
    "ernie": Family(),
    "modernbert": Family(layers="layers", layer_kind=None),
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
}


def find_family(model_type: str | None) -> Family:
    """The family's row; for a family that is not in the table, a row with which freezing layers is an error."""
    unknown = f"where a model of type '{model_type}' keeps its layers is not known (known: {', '.join(FAMILIES)})"
    return FAMILIES.get(model_type or "") or Family(layers=None, no_freezing=unknown, layer_kind=None)
