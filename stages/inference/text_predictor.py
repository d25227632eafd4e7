"""From texts to answers, with whatever computes the logits in between: torch, or ONNX Runtime without torch."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Encoding, Tokenizer

from stages.core.errors import UserError
from stages.evaluation.predictions import Predictions, make_predictions
from stages.inference.classifier_facts import ClassifierFacts
from stages.inference.output_columns import Answer, make_answers
from stages.text.cleaning import clean
from stages.text.padding import plan_batches, round_up_widths
from stages.text.windows import flatten_windows, pool_windows

Text = str | tuple[str, str]
SURROGATE = re.compile("[\ud800-\udfff]")  # how bytes that cannot be decoded are read (PEP 383)


class TokenBatch(NamedTuple):
    """Rows of tokens that are computed together, not padded yet."""

    rows: np.ndarray  # their numbers, `(B,)`
    columns: dict[str, list[list[int]]]  # `input_ids` and, where there are others than 0, `token_type_ids`
    width: int  # to which they are padded, in tokens


class TextPredictor:
    """A classifier that answers texts; its subclasses compute the logits of rows of tokens.

    `tokenizer` is changed: it truncates texts, or divides them into windows, as the facts say. `thresholds` are those
    of the facts, or `min_probability` for all; None without both. `budget` is the most tokens of a batch.
    """

    fixed_rows = False  # whether all batches of a width have the same number of rows, as on a GPU

    def __init__(
        self,
        folder: Path,
        facts: ClassifierFacts,
        tokenizer: Tokenizer,
        batch_size: int = 64,
        min_probability: float | None = None,
    ):
        self.facts = facts
        self.thresholds = facts.choose_thresholds(folder, min_probability)
        self.encode = tokenizer.encode_batch_fast
        tokenizer.no_padding()
        tokenizer.enable_truncation(facts.max_length, stride=facts.stride or 0, direction=facts.truncation_side)
        self.budget = batch_size * facts.max_length

    def compute_logits(self, windows: Sequence[Encoding]) -> np.ndarray:
        """Logits `(N, C)` of N texts or windows, in float32 and in their order."""
        raise NotImplementedError

    def predict(self, texts: Sequence[Text], locations: Sequence[str]) -> list[Answer]:
        """The answers in the order of the texts, computed in batches of texts of similar length.

        UserError for the first text that cannot be used, named by its location.
        """
        predictions, truncated = self.predict_scores(texts, locations)
        return make_answers(predictions, truncated, self.facts.problem_type)

    def predict_scores(self, texts: Sequence[Text], locations: Sequence[str]) -> tuple[Predictions, list[bool]]:
        """The predictions of the texts, and whether each of them was truncated; errors as of `predict`."""
        prepared = [self.prepare(text, location) for text, location in zip(texts, locations, strict=True)]
        encodings = self.encode(prepared)
        has_windows, problem_type = self.facts.has_windows, self.facts.problem_type
        windows, documents = flatten_windows(encodings) if has_windows else (encodings, range(len(encodings)))
        logits = pool_windows(self.compute_logits(windows), np.array(documents, dtype=int), problem_type)
        truncated = [not has_windows and bool(encoding.overflowing) for encoding in encodings]
        return make_predictions(problem_type, logits, names=self.facts.labels, thresholds=self.thresholds), truncated

    def prepare(self, text: Text, location: str) -> Text:
        """The cleaned text, or pair of texts; UserError when it is not text, is empty or cannot be decoded."""
        parts = text if isinstance(text, tuple) else (text,)
        if self.facts.takes_pairs is not None and len(parts) != 1 + self.facts.takes_pairs:
            found, expected = ("a pair", "single texts") if len(parts) > 1 else ("a single text", "pairs")
            raise UserError(f"{location}: found {found}; this model classifies {expected}.")
        if not all(isinstance(part, str) for part in parts):
            raise UserError(f"{location}: text is not a string.")
        if not parts[0].strip():
            raise UserError(f"{location}: empty text.")
        if SURROGATE.search("".join(parts)):
            raise UserError(f"{location}: text has bytes that are not of its encoding.")
        if isinstance(text, tuple):
            return clean(text[0], self.facts.strip_html), clean(text[1], self.facts.strip_html)
        return clean(text, self.facts.strip_html)

    def make_batches(self, windows: Sequence[Encoding]) -> Iterator[TokenBatch]:
        """Yield the rows in batches of one width, which is that of the longest row, rounded up."""
        lengths = np.array([len(window.ids) for window in windows], dtype=int)
        widths = round_up_widths(lengths, self.facts.max_length)
        for rows in plan_batches(lengths, self.facts.max_length, self.budget, self.fixed_rows):
            yield TokenBatch(rows, self.make_columns([windows[row] for row in rows]), int(widths[rows[0]]))

    def make_columns(self, encodings: list[Encoding]) -> dict[str, list[list[int]]]:
        """The tokens of a batch, and their types where the model has types and not all are 0."""
        columns = {"input_ids": [encoding.ids for encoding in encodings]}
        if self.facts.has_token_types and any(encoding.type_ids[-1] for encoding in encodings):
            columns["token_type_ids"] = [encoding.type_ids for encoding in encodings]
        return columns
