"""Texts as means of a frozen encoder's outputs."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from stages.core.errors import UserError
from stages.inference.text_features import TextEncoder
from stages.model.classifier import build_classifier
from stages.text.tokenizer import configure, load_tokenizer

TEXTS = ["Dull.", "It was fine, and not too long for me.", "a film " * 40, "☃ fine"]


@pytest.fixture
def classifier(tiny_model, params, tmp_path):
    """A classifier with random weights that reads 16 tokens."""
    tokenizer = load_tokenizer(tiny_model)
    configure(tokenizer, tiny_model, params({"preprocess.max_length": 16}).preprocess, pairs=False)
    model = build_classifier(tiny_model, ["bad", "good"], tokenizer)
    with torch.no_grad():
        model.base_model.embeddings.word_embeddings.weight += 1  # as if it had been trained
    model.save_pretrained(tmp_path / "classifier")
    tokenizer.save_pretrained(tmp_path / "classifier")
    return tmp_path / "classifier"


def mean_of_tokens(folder, text):
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, truncation=True, max_length=16, return_tensors="pt")
    with torch.inference_mode():
        return AutoModel.from_pretrained(folder)(**tokens).last_hidden_state.mean(1)[0].numpy()


def test_features_are_the_means_of_the_base_models_outputs(classifier, tiny_model):
    features = TextEncoder(classifier, tiny_model, "fp32", 2).encode(TEXTS).features
    for text, found in zip(TEXTS, features, strict=True):
        np.testing.assert_allclose(found, mean_of_tokens(tiny_model, text), atol=1e-5)


def test_a_base_model_without_weights_leaves_it_to_the_classifiers_encoder(classifier, tiny_model, tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_bytes((tiny_model / "config.json").read_bytes())
    features = TextEncoder(classifier, tmp_path / "base", "fp32", 2).encode(TEXTS).features
    np.testing.assert_allclose(features[1], mean_of_tokens(classifier, TEXTS[1]), atol=1e-5)


def test_a_base_model_that_is_missing_or_another_one_is_an_error(classifier, tiny_model, tmp_path):
    """Else other features would be compared than those that the page names."""
    with pytest.raises(UserError, match=r"nowhere/config.json: missing; run `dvc repro`"):
        TextEncoder(classifier, tmp_path / "nowhere", "fp32", 2)
    other = BertConfig(vocab_size=500, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    BertModel(other).save_pretrained(tmp_path / "other")
    message = r"other: is a bert with 500 tokens, and .*/classifier was trained from a bert with 600; run `dvc repro`"
    with pytest.raises(UserError, match=message):
        TextEncoder(classifier, tmp_path / "other", "fp32", 2)


def test_all_tokens_of_long_texts_are_counted_and_unknown_ones(classifier, tiny_model):
    encoder = TextEncoder(classifier, tiny_model, "fp32", 64)
    tokenizer = load_tokenizer(tiny_model)
    encoded = encoder.encode(TEXTS)
    assert encoded.lengths.tolist() == [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    assert encoded.lengths[2] > 80
    assert encoded.unknown.tolist() == [0, 0, 0, 1]


def test_pairs_are_read_together(classifier, tiny_model):
    features = TextEncoder(classifier, tiny_model, "fp32", 64).encode([("It was", "fine"), ("fine", "It was")]).features
    assert np.abs(features[0] - features[1]).max() > 0.01
