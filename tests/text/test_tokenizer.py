import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support.project import ROOT

from stages.core.errors import UserError
from stages.core.param_sections import Preprocess
from stages.data.demo_corpus import make_reviews
from stages.model.folder import has_token_types, has_tokenizer, read_max_length
from stages.text.tokenizer import configure, decodes_to_text, load_tokenizer, train_tokenizer

PREPROCESS = Preprocess(strip_html=True, max_length=128, truncation_side="left", stride=None)
TEXTS = [text for text, _ in make_reviews("train", 0)[:500]]


def test_a_length_that_the_model_cannot_read_is_an_error(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    configure(tokenizer, tiny_model, PREPROCESS, pairs=False)
    assert (tokenizer.model_max_length, tokenizer.truncation_side) == (128, "left")
    with pytest.raises(UserError, match=r"preprocess.max_length: found 129; this model reads at most 128 tokens"):
        configure(tokenizer, tiny_model, PREPROCESS.model_copy(update={"max_length": 129}), pairs=False)


def test_impossible_windows_are_an_error(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    configure(tokenizer, tiny_model, PREPROCESS.model_copy(update={"stride": 125}), pairs=False)
    with pytest.raises(UserError, match=r"preprocess.stride: found 126; a window holds 126 tokens of a text, so less"):
        configure(tokenizer, tiny_model, PREPROCESS.model_copy(update={"stride": 126}), pairs=False)
    with pytest.raises(UserError, match=r"preprocess.stride: found 0; pairs of texts are not read in windows: null"):
        configure(tokenizer, tiny_model, PREPROCESS.model_copy(update={"stride": 0}), pairs=True)


def test_positions_of_the_roberta_family_start_after_the_padding(tmp_path):
    config = {"model_type": "roberta", "pad_token_id": 1, "max_position_embeddings": 514}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_max_length(tmp_path) == 512
    assert not has_token_types(tmp_path)


def test_tokens_that_do_not_decode_to_their_text_are_found(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    encoding = tokenizer("the plot is dull").encodings[0]
    assert decodes_to_text(tokenizer, encoding, "The plot is dull, and the rest was truncated")
    assert not decodes_to_text(tokenizer, encoding, "the plot was dull")
    tokenizer.truncation_side = "left"
    assert decodes_to_text(tokenizer, encoding, "The beginning was truncated, then: the plot is dull")
    assert not decodes_to_text(tokenizer, encoding, "The plot is dull, and the rest was truncated")
    truncated = SimpleNamespace(
        unk_token_id=0,
        truncation_side="right",
        backend_tokenizer=SimpleNamespace(normalizer=None),
        decode=lambda *a, **k: "好\ufffd",
    )  # fmt: skip
    assert decodes_to_text(truncated, SimpleNamespace(ids=[5]), "好吃")


def test_a_trained_tokenizer_is_the_same_in_each_process(tmp_path):
    code = (
        "import sys; from stages.text.tokenizer import train_tokenizer as t; from stages.data.demo_corpus import *;"
        "t(lambda: [text for text, _ in make_reviews('train', 0)[:500]], 900).save_pretrained(sys.argv[1])"
    )
    for name, threads in (("a", "2"), ("b", "1"), ("c", "3")):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "RAYON_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", code, tmp_path / name], env=environment, check=True)
    files = {(tmp_path / name / "tokenizer.json").read_bytes() for name in "abc"}
    assert len(files) == 1


def test_a_trained_tokenizer_loads_again(tmp_path):
    train_tokenizer(lambda: TEXTS, 300).save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert len(loaded) == 300
    assert loaded.decode(loaded("The PLOT is dull")["input_ids"]) == "[CLS] the plot is dull [SEP]"
    assert sorted(loaded.all_special_ids) == [0, 1, 2, 3, 4]


def test_a_trained_tokenizer_separates_ideographs_and_has_all_letters():
    tokenizer = train_tokenizer(lambda: ["房间太小。", "酒店很好！", "été"], 10)
    assert tokenizer.tokenize("太好！") == ["太", "好", "！"]
    assert tokenizer.unk_token_id not in tokenizer("房间太小 酒店很好 été")["input_ids"]


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert not has_tokenizer(tmp_path)
    with pytest.raises(UserError, match=r"has no tokenizer"):
        load_tokenizer(tmp_path)
