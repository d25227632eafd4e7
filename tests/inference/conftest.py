"""Classifiers with random weights that read 16 tokens, as `train` would save them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.core.problem_type import SINGLE_LABEL
from stages.model.classifier import build_classifier
from stages.text.tokenizer import configure, load_tokenizer


@pytest.fixture
def make(tiny_model: Path, params: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """`make(pairs)` returns a model folder."""

    def make(pairs=False, names=("bad", "good", "so-so"), stride=None, problem_type=SINGLE_LABEL):
        torch.manual_seed(0)
        tokenizer = load_tokenizer(tiny_model)
        preprocess = params({"preprocess.max_length": 16, "preprocess.stride": stride}).preprocess
        configure(tokenizer, tiny_model, preprocess, pairs)
        folder = tmp_path / "classifier"
        build_classifier(tiny_model, list(names), tokenizer, problem_type=problem_type).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make
