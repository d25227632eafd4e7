"""Predictions of a finished classifier, computed as `evaluate` computes them."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Encoding

from stages.core.errors import UserError
from stages.core.hardware import resolve_precision
from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.evaluation.predictions import Predictions, make_predictions
from stages.inference.output_columns import Answer, make_answers
from stages.model.classifier import load_classifier
from stages.model.folder import has_token_types, read_classifier, read_max_length
from stages.model.partition import build_frozen_encoder, build_trainable_classifier
from stages.model.prediction import Batch, find_device, predict_batches
from stages.text.batches import TokenBudgetBatches, pad_batch, round_up_widths
from stages.text.cleaning import clean
from stages.text.tokenizer import enable_truncation, has_windows, load_tokenizer
from stages.text.windows import flatten_windows, pool_windows

Text = str | tuple[str, str]
SURROGATE = re.compile("[\ud800-\udfff]")  # how bytes that cannot be decoded are read (PEP 383)


class Predictor:
    """The classifier of a model folder, with its tokenizer and the cleaning of texts that its tokenizer's config names.

    As in `evaluate`, the frozen layers run in `precision` and the others under autocast. `max_length` is in tokens.
    `takes_pairs` says whether the model classifies pairs of texts or single texts; None, for a folder that `train` did
    not make, allows both. `thresholds` are those that `train` fitted, or `min_probability` for all; None without both.
    Raises UserError when the folder has no model or no tokenizer.
    """

    def __init__(
        self, folder: Path, precision: str = "auto", batch_size: int = 64, min_probability: float | None = None
    ):
        read_classifier(folder)
        model = load_classifier(folder).eval()
        self.names = [model.config.id2label[index] for index in range(model.config.num_labels)]
        self.problem_type = model.config.problem_type or SINGLE_LABEL
        self.thresholds = self.choose_thresholds(folder, getattr(model.config, "thresholds", None), min_probability)
        self.tokenizer = load_tokenizer(folder)
        self.strip_html = self.tokenizer.init_kwargs.get("strip_html", False)
        self.takes_pairs = self.tokenizer.init_kwargs.get("text_pairs")
        self.has_windows = has_windows(self.tokenizer)
        limits = (self.tokenizer.model_max_length, read_max_length(folder))
        self.max_length = min(limit for limit in limits if limit is not None)
        self.tokenizer.model_max_length = self.max_length
        self.has_token_types = has_token_types(folder)
        self.budget = batch_size * self.max_length
        self.precision = resolve_precision("precision", precision)
        self.device = find_device()
        freeze_layers = getattr(model.config, "frozen_layers", 0)
        self.frozen_encoder = build_frozen_encoder(model, freeze_layers, self.precision)
        self.classifier = build_trainable_classifier(model, freeze_layers)
        torch.nn.Module.to(self.classifier, self.device)  # transformers types its own `to` wrongly
        enable_truncation(self.tokenizer)

    def choose_thresholds(
        self, folder: Path, stored: Sequence[float] | None, min_probability: float | None
    ) -> np.ndarray | None:
        """One threshold, or with several labels a text one for each label, `(C,)`; None for the usual answers."""
        count = len(self.names) if self.problem_type == MULTI_LABEL else 1
        if min_probability is not None:
            return np.full(count, min_probability)
        if stored is None:
            return None
        if len(stored) != count:
            raise UserError(f"{folder}: config.json has {len(stored)} thresholds, and the model needs {count}.")
        return np.array(stored, dtype=np.float64)

    def predict(self, texts: Sequence[Text], locations: Sequence[str]) -> list[Answer]:
        """The answers in the order of the texts, computed in batches of texts of similar length.

        UserError for the first text that cannot be used, named by its location.
        """
        predictions, truncated = self.predict_scores(texts, locations)
        return make_answers(predictions, truncated, self.problem_type)

    def predict_scores(self, texts: Sequence[Text], locations: Sequence[str]) -> tuple[Predictions, list[bool]]:
        """The predictions of the texts, and whether each of them was truncated; errors as of `predict`."""
        prepared = [self.prepare(text, location) for text, location in zip(texts, locations, strict=True)]
        encodings = self.tokenizer.backend_tokenizer.encode_batch_fast(prepared)
        windows, documents = flatten_windows(encodings) if self.has_windows else (encodings, range(len(encodings)))
        logits = pool_windows(self.compute_logits(windows), np.array(documents, dtype=int), self.problem_type)
        truncated = [not self.has_windows and bool(encoding.overflowing) for encoding in encodings]
        return make_predictions(self.problem_type, logits, names=self.names, thresholds=self.thresholds), truncated

    def prepare(self, text: Text, location: str) -> Text:
        """The cleaned text, or pair of texts; UserError when it is not text, is empty or cannot be decoded."""
        parts = text if isinstance(text, tuple) else (text,)
        if self.takes_pairs is not None and len(parts) != 1 + self.takes_pairs:
            found, expected = ("a pair", "single texts") if len(parts) > 1 else ("a single text", "pairs")
            raise UserError(f"{location}: found {found}; this model classifies {expected}.")
        if not all(isinstance(part, str) for part in parts):
            raise UserError(f"{location}: text is not a string.")
        if not parts[0].strip():
            raise UserError(f"{location}: empty text.")
        if SURROGATE.search("".join(parts)):
            raise UserError(f"{location}: text has bytes that are not of its encoding.")
        if isinstance(text, tuple):
            return clean(text[0], self.strip_html), clean(text[1], self.strip_html)
        return clean(text, self.strip_html)

    def compute_logits(self, windows: list[Encoding]) -> np.ndarray:
        """Logits `(N, C)` of N texts or windows, in float32 and in their order."""
        batches = self.make_batches(windows) if windows else []
        return predict_batches(self.classifier, self.frozen_encoder, batches, len(windows), self.precision)

    def make_batches(self, windows: list[Encoding]) -> Iterator[tuple[np.ndarray, Batch]]:
        """Yield the numbers of the rows of each batch, and the batch, padded to the width of its longest row."""
        lengths = np.array([len(window.ids) for window in windows])
        widths = round_up_widths(lengths, self.max_length)
        for rows in TokenBudgetBatches(lengths, self.max_length, self.budget, self.device.type == "cuda").batches:
            yield rows, self.make_batch([windows[row] for row in rows], int(widths[rows[0]]))

    def make_batch(self, encodings: list[Encoding], width: int) -> Batch:
        """The tokens of texts, padded to `width`."""
        columns = {"input_ids": [encoding.ids for encoding in encodings]}
        if self.has_token_types and any(encoding.type_ids[-1] for encoding in encodings):
            columns["token_type_ids"] = [encoding.type_ids for encoding in encodings]
        return pad_batch(columns, self.tokenizer.pad_token_id, width)
