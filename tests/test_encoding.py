import json
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.lib.demo_corpus import LABELS, make_reviews
from stages.lib.encoding import encode_split, load_splits, load_tokenizer, reads_back, save_splits
from stages.lib.errors import UserError
from stages.lib.params import Preprocess
from stages.lib.sources import SCHEMA
from stages.lib.token_statistics import Tally, overlap

TEXTS = [f"{text}<br />" for text, _ in make_reviews("train", 0)[:1500]]
NAMES = [label for _, label in make_reviews("train", 0)[:1500]]


def encode(folder, model, texts=TEXTS, names=NAMES, max_length=24):
    """Encode rows as the split `train`; return the data set and its tally."""
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table([texts, names], schema=SCHEMA), folder / "train.parquet")
    tokenizer = load_tokenizer(model, max_length)
    preprocess = Preprocess(strip_html=True, max_length=max_length)
    tally = encode_split(folder / "train.parquet", folder / "train.arrow", LABELS, tokenizer, preprocess)
    save_splits({"train": folder / "train.arrow"}, folder / "tokenized")
    return load_splits(folder / "tokenized")["train"], tally


def test_rows_keep_order_label_and_length_and_are_not_padded(tmp_path, tiny_model):
    data, _ = encode(tmp_path, tiny_model)
    tokenizer = load_tokenizer(tiny_model, 24)
    expected = tokenizer([text.removesuffix("<br />") for text in TEXTS], truncation=True)["input_ids"]
    assert data["input_ids"][:] == expected
    assert data["length"][:] == [len(ids) for ids in expected]
    assert max(data["length"]) == 24
    assert [LABELS[label] for label in data["labels"]] == NAMES


def test_bytes_do_not_depend_on_the_number_of_threads(tmp_path, tiny_model, monkeypatch):
    encode(tmp_path / "many", tiny_model)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    encode(tmp_path / "one", tiny_model)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one/tokenized").rglob("*.*")]
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "many" / file).read_bytes()


def test_the_statistics_count_what_is_there(tmp_path, tiny_model):
    texts = ["the plot is dull", "the plot  is dull", "<p></p>", " ".join(["dull"] * 100)]
    _, tally = encode(tmp_path, tiny_model, texts, ["negative"] * 3 + ["positive"])
    summary = tally.summary()
    assert summary["rows"] == 4
    assert summary["duplicates"] == 1
    assert summary["empty_texts"] == 1
    assert summary["share_truncated"] == 0.25
    assert summary["length"]["min"] == 2
    assert summary["length"]["max"] == 24
    assert summary["share_classes"] == {"negative": 0.75, "positive": 0.25}
    _, other = encode(tmp_path / "other", tiny_model, ["the plot is dull", "else"], ["negative", "positive"])
    assert overlap(tally, other) == 1


def test_an_input_longer_than_the_model_reads_is_refused(tiny_model):
    assert load_tokenizer(tiny_model, 128).model_max_length == 128
    with pytest.raises(UserError, match=r"preprocess.max_length: found 129; this model reads at most 128 tokens"):
        load_tokenizer(tiny_model, 129)


def test_positions_of_the_roberta_family_start_behind_the_padding(tiny_model, tmp_path):
    for file in tiny_model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "roberta", "pad_token_id": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"found 127; this model reads at most 126 tokens"):
        load_tokenizer(tmp_path, 127)


def test_tokens_that_say_something_else_are_noticed(tiny_model):
    tokenizer = load_tokenizer(tiny_model, 24)
    ids = tokenizer("the plot is dull")["input_ids"]
    assert reads_back(tokenizer, ids, "The plot is dull, and more was cut")
    assert not reads_back(tokenizer, ids, "the plot was dull")
    cut = SimpleNamespace(
        unk_token_id=0, backend_tokenizer=SimpleNamespace(normalizer=None), decode=lambda *a, **k: "好\ufffd"
    )
    assert reads_back(cut, [5], "好吃")
    with pytest.raises(UserError, match=r"loses text: 8 of 10 sampled rows of train"):
        Tally(read_back=[True] * 8 + [False] * 2).check_read_back("train")


def test_a_broken_data_set_is_told(tmp_path, tiny_model):
    encode(tmp_path, tiny_model)
    with pytest.raises(UserError, match=r"nothing: cannot be read .* run `dvc repro preprocess`"):
        load_splits(tmp_path / "nothing")
    next((tmp_path / "tokenized/train").glob("*.arrow")).write_bytes(b"junk")
    with pytest.raises(UserError, match=r"tokenized: cannot be read"):
        load_splits(tmp_path / "tokenized")
