"""Predictions of a finished classifier by torch, computed as `evaluate` computes them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tokenizers import Encoding

from stages.core.hardware import resolve_precision
from stages.core.problem_type import SINGLE_LABEL
from stages.inference.classifier_facts import ClassifierFacts
from stages.inference.text_predictor import TextPredictor
from stages.model.classifier import load_classifier
from stages.model.folder import has_token_types, list_labels, read_classifier, read_max_length
from stages.model.partition import build_frozen_encoder, build_trainable_classifier
from stages.model.prediction import Batch, find_device, predict_batches
from stages.text.batches import pad_batch
from stages.text.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Predictor(TextPredictor):
    """The classifier of a model folder, with its tokenizer and the cleaning of texts that its tokenizer's config names.

    As in `evaluate`, the frozen layers run in `precision` and the others under autocast. Raises UserError when the
    folder has no model or no tokenizer.
    """

    def __init__(
        self, folder: Path, precision: str = "auto", batch_size: int = 64, min_probability: float | None = None
    ):
        read_classifier(folder)
        model = load_classifier(folder).eval()
        tokenizer = load_tokenizer(folder)
        facts = read_facts(folder, tokenizer)
        super().__init__(folder, facts, tokenizer.backend_tokenizer, batch_size, min_probability)
        self.precision = resolve_precision("precision", precision)
        self.fixed_rows = find_device().type == "cuda"
        freeze_layers = getattr(model.config, "frozen_layers", 0)
        self.frozen_encoder = build_frozen_encoder(model, freeze_layers, self.precision)
        self.classifier = build_trainable_classifier(model, freeze_layers)
        torch.nn.Module.to(self.classifier, find_device())  # transformers types its own `to` wrongly

    def compute_logits(self, windows: Sequence[Encoding]) -> np.ndarray:
        """Logits `(N, C)` of N texts or windows, in float32 and in their order."""
        batches = self.pad_batches(windows)
        return predict_batches(self.classifier, self.frozen_encoder, batches, len(windows), self.precision)

    def pad_batches(self, windows: Sequence[Encoding]) -> Iterator[tuple[np.ndarray, Batch]]:
        """Yield the numbers of the rows of each batch, and the batch."""
        for rows, columns, width in self.make_batches(windows):
            yield rows, pad_batch(columns, self.facts.pad_token_id, width)


def read_facts(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> ClassifierFacts:
    """The facts of a model folder with this tokenizer."""
    config, own = read_classifier(folder), tokenizer.init_kwargs
    limits = (tokenizer.model_max_length, read_max_length(folder))
    return ClassifierFacts(
        labels=list_labels(config),
        problem_type=config.get("problem_type") or SINGLE_LABEL,
        thresholds=config.get("thresholds"),
        max_length=min(limit for limit in limits if limit is not None),
        stride=own.get("window_stride"),
        truncation_side=tokenizer.truncation_side,
        strip_html=own.get("strip_html", False),
        takes_pairs=own.get("text_pairs"),
        has_token_types=has_token_types(folder),
        pad_token_id=tokenizer.pad_token_id,
    )
