"""Texts as vectors in which no label has a part: the mean of a frozen encoder's outputs over the tokens of a text."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Encoding
from transformers import AutoConfig, PreTrainedModel

from stages.core.errors import UserError
from stages.core.hardware import resolve_precision
from stages.model.classifier import load_classifier, load_model
from stages.model.folder import has_token_types, read_config, read_max_length
from stages.model.partition import DTYPES
from stages.model.pooling import pool
from stages.model.prediction import find_device
from stages.text.batches import pad_batch
from stages.text.padding import plan_batches, round_up_widths
from stages.text.tokenizer import load_tokenizer

Text = str | tuple[str, str]


class EncodedTexts(NamedTuple):
    """What is known of N texts, or pairs of texts, without a label."""

    features: np.ndarray  # float32 `(N, D)`; of a long text those of its first window
    lengths: np.ndarray  # tokens of the whole text, `(N,)`
    unknown: np.ndarray  # how many of them the tokenizer does not know, `(N,)`


class TextEncoder:
    """The pretrained encoder of `base`, which no training of the pipeline has changed, with the classifier's tokenizer.

    Where the base model has no weights, because the classifier was trained from scratch, it is the classifier's own
    encoder. It runs in `precision`, under autocast. UserError when `base` is missing or another model.
    """

    def __init__(self, classifier: Path, base: Path, precision: str, batch_size: int):
        self.tokenizer = load_tokenizer(classifier)
        limits = (self.tokenizer.model_max_length, read_max_length(classifier))
        self.max_length = min(limit for limit in limits if limit is not None)
        self.tokenizer.backend_tokenizer.no_padding()
        self.tokenizer.backend_tokenizer.enable_truncation(self.max_length, direction=self.tokenizer.truncation_side)
        self.has_token_types = has_token_types(classifier)
        self.budget = batch_size * self.max_length
        self.precision = resolve_precision("evaluate.precision", precision)
        self.device = find_device()
        self.encoder = load_encoder(base, classifier).eval()
        torch.nn.Module.to(self.encoder, self.device)  # transformers types its own `to` wrongly

    def encode(self, texts: Sequence[Text]) -> EncodedTexts:
        """Encode cleaned texts.

        Samples that are compared must be encoded in one call: the last bits of a text's features depend on the texts
        that are in a batch with it.
        """
        encodings = self.tokenizer.backend_tokenizer.encode_batch_fast(list(texts))
        return EncodedTexts(self.compute_features(encodings), *self.count_tokens(encodings))

    def compute_features(self, encodings: Sequence[Encoding]) -> np.ndarray:
        """The mean over the tokens of each row, float32 `(N, D)`."""
        lengths = np.array([len(encoding.ids) for encoding in encodings])
        widths = round_up_widths(lengths, self.max_length)
        features = np.empty((len(encodings), self.encoder.config.hidden_size), dtype=np.float32)
        dtype, is_mixed, is_gpu = DTYPES[self.precision], self.precision != "fp32", self.device.type == "cuda"
        with torch.inference_mode(), torch.autocast(self.device.type, dtype, enabled=is_mixed):
            for rows in plan_batches(lengths, self.max_length, self.budget, is_gpu):
                batch = self.make_batch([encodings[row] for row in rows], int(widths[rows[0]]))
                hidden = self.encoder(**batch).last_hidden_state
                features[rows] = pool(hidden.float(), batch.get("attention_mask"), "mean")[:, 0].cpu().numpy()
        return features

    def make_batch(self, encodings: Sequence[Encoding], width: int) -> dict[str, torch.Tensor]:
        """The tokens of texts, padded to `width`."""
        columns = {"input_ids": [encoding.ids for encoding in encodings]}
        if self.has_token_types:
            columns["token_type_ids"] = [encoding.type_ids for encoding in encodings]
        batch = pad_batch(columns, self.tokenizer.pad_token_id, width)
        return {name: values.to(self.device) for name, values in batch.items()}

    def count_tokens(self, encodings: Sequence[Encoding]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of each text and how many of them are unknown, both `(N,)`; also of what does not fit the model."""
        special = self.tokenizer.num_special_tokens_to_add()
        unknown_id = self.tokenizer.unk_token_id
        parts = [[encoding, *encoding.overflowing] for encoding in encodings]
        lengths = [sum(len(part.ids) - special for part in of_text) + special for of_text in parts]
        unknown = [sum(part.ids.count(unknown_id) for part in of_text) for of_text in parts]
        return np.array(lengths), np.array(unknown)


def load_encoder(base: Path, classifier: Path) -> PreTrainedModel:
    """The base model's encoder, or the classifier's where the base model has no weights.

    UserError when there is no base model, or it is not the one whose tokenizer the classifier has.
    """
    read_config(base)
    has_weights = any(base.glob("*.safetensors"))
    model = load_model(base, new_head=True) if has_weights else load_classifier(classifier)
    expected = AutoConfig.from_pretrained(classifier.resolve())
    if (model.config.model_type, model.config.vocab_size) != (expected.model_type, expected.vocab_size):
        raise UserError(
            f"{base}: is a {model.config.model_type} with {model.config.vocab_size:,} tokens, and {classifier} was "
            f"trained from a {expected.model_type} with {expected.vocab_size:,}; run `dvc repro`."
        )
    assert isinstance(model.base_model, PreTrainedModel)
    return model.base_model
