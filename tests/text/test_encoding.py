import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import UserError
from stages.core.param_sections import Preprocess
from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.data.demo_corpus import LABELS, make_reviews
from stages.text.encoding import encode_split, index_splits, load_splits, make_features, read_slices
from stages.text.labels import get_label_names, read_labels
from stages.text.statistics import SplitStatistics
from stages.text.tokenizer import configure, load_tokenizer
from stages.text.windows import count_document_tokens

PREPROCESS = Preprocess(strip_html=True, max_length=24, truncation_side="right", stride=None)
TEXTS = [f"{text}<br />" for text, _ in make_reviews("train", 0)[:1500]]
NAMES = [label for _, label in make_reviews("train", 0)[:1500]]


def configure_tokenizer(model, preprocess=PREPROCESS, pairs=False):
    tokenizer = load_tokenizer(model)
    configure(tokenizer, model, preprocess, pairs)
    return tokenizer


def encode(folder, model, texts=TEXTS, names=NAMES, preprocess=PREPROCESS, pairs=None):
    """Encode rows as the split `train`; return the data set and its statistics."""
    folder.mkdir(exist_ok=True)
    columns = {"text": texts, "label": names} | ({"text_pair": pairs} if pairs else {})
    pq.write_table(pa.table(columns), folder / "train.parquet")
    tokenizer = configure_tokenizer(model, preprocess, bool(pairs))
    statistics = encode_split(folder / "train.parquet", folder / "tokenized/train", LABELS, tokenizer, preprocess, True)
    index_splits(folder / "tokenized", {"train": statistics})
    return load_splits(folder / "tokenized")["train"], statistics


def test_rows_keep_order_label_and_length_and_are_not_padded(tmp_path, tiny_model):
    data, _ = encode(tmp_path, tiny_model)
    tokenizer = configure_tokenizer(tiny_model)
    expected = tokenizer([text.removesuffix("<br />") for text in TEXTS], truncation=True)["input_ids"]
    assert data["input_ids"][:] == expected
    assert data["length"][:] == [len(ids) for ids in expected]
    assert max(data["length"]) == 24
    assert [LABELS[label] for label in data["labels"]] == NAMES


def test_a_row_may_have_several_labels_or_none(tmp_path, tiny_model):
    pq.write_table(
        pa.table({"text": ["a", "b", "c"], "label": [["positive", "negative"], [], ["positive"]]}),
        tmp_path / "train.parquet",
    )
    statistics = encode_split(
        tmp_path / "train.parquet",
        tmp_path / "tokenized/train",
        LABELS,
        configure_tokenizer(tiny_model),
        PREPROCESS,
        has_types=True,
        problem_type=MULTI_LABEL,
    )
    index_splits(tmp_path / "tokenized", {"train": statistics})
    data = load_splits(tmp_path / "tokenized")["train"]
    assert get_label_names(data) == LABELS
    assert read_labels(data).tolist() == [[True, True], [False, False], [False, True]]
    assert statistics.summarize()["share_classes"] == {"negative": 0.3333, "positive": 0.6667}


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
    _, statistics = encode(tmp_path, tiny_model, texts, ["negative"] * 3 + ["positive"])
    summary = statistics.summarize()
    assert summary["rows"] == 4
    assert summary["duplicates"] == 1
    assert summary["empty_texts"] == 1
    assert summary["share_truncated"] == 0.25
    assert summary["length"]["min"] == 2
    assert summary["length"]["max"] == 24
    assert summary["share_classes"] == {"negative": 0.75, "positive": 0.25}


def test_a_long_text_keeps_its_beginning_or_its_end(tmp_path, tiny_model):
    text = "the " * 50 + "is " * 50
    start, _ = encode(tmp_path / "right", tiny_model, [text] * 2, LABELS)
    left = PREPROCESS.model_copy(update={"truncation_side": "left"})
    end, _ = encode(tmp_path / "left", tiny_model, [text] * 2, LABELS, left)
    tokenizer = configure_tokenizer(tiny_model, left)
    assert tokenizer.decode(start["input_ids"][0]).startswith("[CLS] the the the")
    assert tokenizer.decode(end["input_ids"][0]).endswith("is is is [SEP]")
    assert len(end["input_ids"][0]) == 24
    assert tokenizer(text, truncation=True)["input_ids"] == end["input_ids"][0]


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_long_text_is_read_completely_in_windows_that_overlap(tmp_path, tiny_model, side):
    texts = [" ".join(f"{word} {number}" for number in range(60)) for word in ("film", "plot")]
    preprocess = PREPROCESS.model_copy(update={"stride": 5, "truncation_side": side})
    texts, names = [texts[0], "dull", texts[1], ""], [LABELS[number] for number in (0, 1, 1, 0)]
    data, statistics = encode(tmp_path, tiny_model, texts, names, preprocess)
    tokenizer, windows = configure_tokenizer(tiny_model, preprocess), [[], [], [], []]
    for row in data:
        windows[row["document"]].append(row["input_ids"][1:-1])
        assert row["labels"] == LABELS.index(names[row["document"]])
        assert row["length"] == len(row["input_ids"]) <= 24
    assert data["document"][:] == sorted(data["document"])
    for text, parts in zip(texts, windows, strict=True):
        first, *rest = parts if side == "right" else reversed(parts)
        for part in rest:
            assert part[:5] == first[-5:]
            first = first + part[5:]
        assert first == tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]
    lengths = [len(tokenizer(text, truncation=False)["input_ids"]) for text in texts]
    assert count_document_tokens(np.array(data["length"]), np.array(data["document"]), tokenizer).tolist() == lengths
    summary = statistics.summarize()
    assert (summary["rows"], summary["windows"], summary["share_truncated"]) == (4, len(data), 0)
    assert summary["tokens"] == sum(data["length"])
    assert summary["length"]["max"] == max(lengths)


@pytest.mark.parametrize(("documents", "kind"), [(1, "int32"), (2**31, "int32"), (2**31 + 1, "int64")])
def test_windows_hold_the_number_of_their_text_however_many_there_are(documents, kind):
    assert make_features(LABELS, SINGLE_LABEL, has_types=False, documents=documents)["document"].dtype == kind


def test_pairs_are_two_texts_in_one_row_with_token_types(tmp_path, tiny_model):
    data, statistics = encode(
        tmp_path, tiny_model, ["the plot", "the plot"], LABELS, pairs=["is dull", "is <b>dull</b>"]
    )
    expected = configure_tokenizer(tiny_model)("the plot", "is dull")
    assert data["input_ids"][:] == [expected["input_ids"]] * 2
    types = [encoding.type_ids for encoding in expected.encodings]
    assert data["token_type_ids"][:] == types * 2
    assert set(types[0]) == {0, 1}
    assert statistics.summarize()["duplicates"] == 1


def test_a_tokenizer_that_loses_text_is_an_error():
    with pytest.raises(UserError, match=r"loses text: 8 of 10 sampled rows of train"):
        SplitStatistics(decoded=[True] * 8 + [False] * 2).check_decoding("train")


def test_a_missing_or_broken_data_set_is_an_error(tmp_path, tiny_model):
    encode(tmp_path, tiny_model)
    with pytest.raises(UserError, match=r"nothing: cannot be read .* run `dvc repro preprocess`"):
        load_splits(tmp_path / "nothing")
    (arrow,) = (tmp_path / "tokenized/train").glob("*.arrow")
    arrow.write_bytes(b"junk")
    with pytest.raises(UserError, match=r"arrow: has changed since it was written; run `dvc repro preprocess`"):
        load_splits(tmp_path / "tokenized")
    (tmp_path / "tokenized/train/state.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenized: cannot be read"):
        load_splits(tmp_path / "tokenized")


def test_slices_are_read_by_the_name_of_their_column(tmp_path):
    columns = {"text": ["a", "b"], "slice_source": ["web", ""], "slice_slice_of": ["x", "y"]}
    pq.write_table(pa.table(columns), tmp_path / "test.parquet")
    found = read_slices(tmp_path / "test.parquet", ["slice_of", "source"])
    assert found == {"slice_of": ["x", "y"], "source": ["web", ""]}
    assert read_slices(tmp_path / "test.parquet", []) == {}
    with pytest.raises(UserError, match=r"test.parquet: cannot be read \(.*; run `dvc repro download`, which makes it"):
        read_slices(tmp_path / "test.parquet", ["language"])
