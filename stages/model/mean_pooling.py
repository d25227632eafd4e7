"""Classifiers whose head reads the mean over all tokens, for families that Transformers gives none.

They are saved as sentence-transformers saves a Transformer, a Pooling and a Dense module, so that
`SentenceTransformer(folder).encode(texts)` returns the logits without code of ours.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import MODEL_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from stages.core.files import write_json
from stages.model.families import find_family
from stages.model.folder import POOLING_FILE
from stages.model.pooling import pool

# The modules of sentence-transformers, in the order in which they run: folder and class. These names are older than
# those of version 6, and both work there.
MODULES = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
MODULES_FILE, HEAD_FILE = "modules.json", "2_Dense/model.safetensors"


class MeanPoolingClassifier(PreTrainedModel):
    """An encoder, the mean over its tokens, dropout and one linear layer; `make_mean_pooling` completes the class."""

    encoder_class: type[PreTrainedModel]

    def __init__(self, config: PreTrainedConfig):
        super().__init__(config)
        family = find_family(config.model_type)
        encoder = self.encoder_class(config)
        for part in family.head:
            if hasattr(encoder, part):
                setattr(encoder, part, None)
        setattr(self, self.base_model_prefix, encoder)
        dropout = getattr(config, family.head_dropout or "classifier_dropout", None)
        self.dropout = nn.Dropout(getattr(config, "hidden_dropout_prob", 0.0) if dropout is None else dropout)
        assert config.num_labels is not None
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Logits `(B, C)` of tokens `(B, T)`, or of what the encoder takes for them, `(B, T, D)`.

        With labels, `(B,)`, also the loss, cross-entropy; Trainer looks for this argument.
        """
        inputs = {"token_type_ids": token_type_ids} if token_type_ids is not None else {}
        outputs = self.base_model(
            input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, **inputs
        )
        mean = pool(outputs.last_hidden_state, attention_mask, "mean").squeeze(1)
        logits = self.classifier(self.dropout(mean))
        loss = None if labels is None else cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def make_mean_pooling(config: PreTrainedConfig) -> type[MeanPoolingClassifier]:
    """The class of a family's classifiers; what its models have in common comes from Transformers' class for them.

    These are the names of the weights, how new ones are drawn, and which kinds of attention there are.
    """
    encoder = MODEL_MAPPING[type(config)]
    assert isinstance(encoder, type)  # some families, none of those in FAMILIES, have several
    parts = {"encoder_class": encoder, "config_class": type(config), "__module__": __name__}
    return type("MeanPoolingClassifier", (MeanPoolingClassifier, encoder.__base__), parts)


def is_mean_pooled(config: PreTrainedConfig) -> bool:
    """Whether a classifier with this config is of the class that `make_mean_pooling` returns."""
    return getattr(config, "pooling", None) == "mean" and not hasattr(config, "classifier_pooling")


def save_mean_pooled(model: PreTrainedModel, max_length: int, folder: Path) -> None:
    """Write weights and configs as modules of sentence-transformers; `max_length` is in tokens.

    config.json has the label names, in the order of the logits.
    """
    encoder, head = model.base_model, model.get_submodule("classifier")
    assert isinstance(encoder, PreTrainedModel)
    assert isinstance(head, nn.Linear)
    encoder.save_pretrained(folder)
    for name in MODULES:
        (folder / name).mkdir(exist_ok=True)
    save_file({f"linear.{name}": value for name, value in head.state_dict().items()}, folder / HEAD_FILE)
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(MODULES.items())
    ]
    write_json(folder / MODULES_FILE, modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    pooling = {"word_embedding_dimension": head.in_features, "pooling_mode_mean_tokens": True}
    write_json(folder / POOLING_FILE, pooling)
    dense = {"in_features": head.in_features, "out_features": head.out_features, "bias": True}
    write_json(folder / "2_Dense/config.json", dense | {"activation_function": "torch.nn.modules.linear.Identity"})


def read_mean_pooled(folder: Path, model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights that `save_mean_pooled` wrote, by their names in `model`."""
    encoder, head = load_file(folder / "model.safetensors"), load_file(folder / HEAD_FILE)
    weights = {f"{model.base_model_prefix}.{name}": value for name, value in encoder.items()}
    return weights | {f"classifier.{name.removeprefix('linear.')}": value for name, value in head.items()}
