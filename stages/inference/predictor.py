"""Answers of a finished classifier, computed as `evaluate` computes them."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Encoding

from stages.core.errors import UserError
from stages.core.hardware import resolve_precision
from stages.model.classifier import load_classifier
from stages.model.folder import has_token_types, read_max_length
from stages.model.partition import DTYPES, build_frozen_encoder, build_trainable_classifier
from stages.text.batches import TokenBudgetBatches, pad_batch, round_up_widths
from stages.text.cleaning import clean
from stages.text.tokenizer import enable_truncation, has_windows, load_tokenizer
from stages.text.windows import flatten_windows, pool_windows

Text = str | tuple[str, str]
SURROGATE = re.compile("[\ud800-\udfff]")  # how undecodable bytes are read (PEP 383)


class Answer(NamedTuple):
    label: str
    probability: float  # of that label
    truncated: bool  # whether the text is longer than the model reads, and was cut


class Predictor:
    """The classifier of a model folder, with its tokenizer and the cleaning of texts that its tokenizer's config names.

    Its frozen layers run in `precision` and the others under autocast, as in `evaluate`. `max_length` is in tokens;
    `pairs` says whether it takes texts or pairs of texts (None: a folder that `train` did not make, which takes both).
    """

    def __init__(self, folder: Path, precision: str = "auto", batch_size: int = 64):
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: holds no model (no config.json); `dvc repro` makes models/classifier.")
        model, self.tokenizer = load_classifier(folder).eval(), load_tokenizer(folder)
        self.names = [model.config.id2label[index] for index in range(model.config.num_labels)]
        self.strip_html = self.tokenizer.init_kwargs.get("strip_html", False)
        self.pairs = self.tokenizer.init_kwargs.get("text_pairs")
        self.windows = has_windows(self.tokenizer)
        self.tokenizer.model_max_length = min(self.tokenizer.model_max_length, read_max_length(folder) or math.inf)
        self.max_length = self.tokenizer.model_max_length
        self.types, self.budget = has_token_types(folder), batch_size * self.max_length
        self.precision = resolve_precision("precision", precision)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        freeze_layers = getattr(model.config, "frozen_layers", 0)
        self.frozen = build_frozen_encoder(model, freeze_layers, self.precision)
        self.half = build_trainable_classifier(model, freeze_layers).to(self.device)
        enable_truncation(self.tokenizer)

    def predict(self, texts: Sequence[Text], where: Sequence[str]) -> list[Answer]:
        """The answers in the order of the texts, computed in batches of like length.

        UserError for the first text that cannot be used, named by `where`.
        """
        prepared = [self.prepare(text, place) for text, place in zip(texts, where, strict=True)]
        encodings = self.tokenizer.backend_tokenizer.encode_batch_fast(prepared)
        parts, documents = flatten_windows(encodings) if self.windows else (encodings, range(len(encodings)))
        lengths = np.array([len(part.ids) for part in parts])
        logits = np.empty((len(parts), len(self.names)), dtype=np.float32)
        for rows in TokenBudgetBatches(lengths, self.budget) if parts else ():
            logits[rows] = self.compute([parts[row] for row in rows], round_up_widths(lengths)[rows].max())
        scores = torch.from_numpy(pool_windows(logits, np.array(documents, dtype=int)))
        probabilities, labels = (values.tolist() for values in scores.softmax(-1).max(-1))
        cut = [not self.windows and bool(encoding.overflowing) for encoding in encodings]
        return [Answer(self.names[label], *rest) for label, *rest in zip(labels, probabilities, cut, strict=True)]

    def prepare(self, text: Text, where: str) -> Text:
        """The cleaned text, or pair of texts; UserError when there is nothing to read, or it is no text."""
        parts = text if isinstance(text, tuple) else (text,)
        if self.pairs is not None and len(parts) != 1 + self.pairs:
            found, wanted = ("a pair", "single texts") if len(parts) > 1 else ("a single text", "pairs")
            raise UserError(f"{where}: found {found}; this model classifies {wanted}.")
        if not all(isinstance(part, str) for part in parts):
            raise UserError(f"{where}: text is not a string.")
        if not parts[0].strip():
            raise UserError(f"{where}: empty text.")
        if SURROGATE.search("".join(parts)):
            raise UserError(f"{where}: text has bytes that are not of its encoding.")
        cleaned = tuple(clean(part, self.strip_html) for part in parts)
        return cleaned if len(parts) > 1 else cleaned[0]

    def compute(self, encodings: list[Encoding], width: int) -> np.ndarray:
        """Logits `(B, C)` of one batch, padded to `width` tokens, in float32."""
        columns = {"input_ids": [encoding.ids for encoding in encodings]}
        if self.types and any(encoding.type_ids[-1] for encoding in encodings):
            columns["token_type_ids"] = [encoding.type_ids for encoding in encodings]
        batch = pad_batch(columns, self.tokenizer.pad_token_id, width)
        batch = {name: values.to(self.device) for name, values in batch.items()}
        low = self.precision != "fp32"
        with torch.inference_mode(), torch.autocast(self.device.type, DTYPES[self.precision], enabled=low):
            logits = self.half(**(self.frozen(batch) if self.frozen else batch)).logits
        return logits.float().cpu().numpy()
