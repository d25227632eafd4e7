import json

import pyarrow.parquet as pq
import pytest

from stages import download
from stages.core.errors import UserError
from stages.data.rows import hash_texts

TRAIN = [(f"train {number}", "ab"[number % 2]) for number in range(40)]
TEST = [(f"test {number}", "ab"[number % 2]) for number in range(10)]
DEV = [(f"dev {number}", "ab"[number % 2]) for number in range(10)]
DROP = "drop_from_train"


@pytest.fixture
def read(workspace, write_params):
    """Run `download` on splits of (text, label); return the texts of each split it wrote, and what it counted."""

    def run(train=TRAIN, test=TEST, dev=None, **data):
        (workspace / "splits").mkdir(exist_ok=True)
        for split, rows in {"train": train, "test": test, "dev": dev}.items():
            if rows:
                lines = [json.dumps({"text": text, "pair": "the same", "label": label}) for text, label in rows]
                (workspace / f"splits/{split}.jsonl").write_text("\n".join(lines))
        data = {"source": "json", "path": "splits"} | data
        write_params({f"data.{key}": value for key, value in data.items()})
        download.main()
        tables = {split: pq.read_table(f"data/raw/{split}.parquet") for split in ("train", "validation", "test")}
        leaks = json.loads((workspace / "data/raw/dataset.json").read_text())["leaks"]
        return {split: table["text"].to_pylist() for split, table in tables.items()}, leaks

    return run


def test_there_is_no_warning_when_splits_share_no_text(read, capsys):
    texts, leaks = read(dev=DEV, on_leak="error")
    assert leaks == dict.fromkeys(
        ["train_and_validation", "train_and_test", "validation_and_test", "dropped_from_train",
         "dropped_from_validation"], 0,
    )  # fmt: skip
    assert len(texts["train"]) == 40
    assert "warning" not in capsys.readouterr().out


def test_shared_texts_with_any_label_are_counted_with_a_warning(read, capsys):
    train = [*TRAIN, ("dev 1", "a"), ("test 1", "a"), ("test 1", "b"), ("test 2", "a")]
    texts, leaks = read(train, [*TEST, ("dev 2", "a")], DEV)
    assert list(leaks.values()) == [1, 2, 1, 0, 0]
    assert len(texts["train"]) == 44
    printed = capsys.readouterr().out
    assert "warning: train and validation share 1 text; data.on_leak: drop_from_train drops them from train" in printed
    assert "warning: train and test share 2 texts; data.on_leak: drop_from_train drops them from train" in printed
    assert "warning: validation and test share 1 text; data.on_leak: drop_from_train leaves both as they are" in printed


def test_training_rows_with_a_text_of_validation_or_test_are_dropped(read, capsys):
    train = [("test 1", "a"), *TRAIN, ("dev 1", "a"), ("test 1", "b"), ("test 2", "a")]
    texts, leaks = read(train, [*TEST, ("dev 2", "a")], DEV, on_leak=DROP)
    assert texts["train"] == [text for text, _ in TRAIN]
    assert (len(texts["validation"]), len(texts["test"])) == (10, 11)
    assert list(leaks.values()) == [1, 2, 1, 4, 0]
    printed = capsys.readouterr().out
    assert "dropped: text is in another split too (4 rows of train)" in printed
    assert printed.count("warning") == 1  # of what the source has in both validation and test


def test_a_carved_validation_split_loses_texts_of_test_too(read, capsys):
    texts, leaks = read([*TRAIN, *TEST], validation_fraction=0.5, on_leak=DROP)
    assert sorted(texts["train"] + texts["validation"]) == sorted(text for text, _ in TRAIN)
    assert (leaks["dropped_from_train"], leaks["dropped_from_validation"]) == (
        leaks["train_and_test"], leaks["validation_and_test"]
    )  # fmt: skip
    assert leaks["dropped_from_validation"] > 0
    assert len(texts["test"]) == 10
    assert "warning" not in capsys.readouterr().out


def test_texts_that_a_file_repeats_leak_into_the_splits_carved_from_it(workspace, read):
    lines = [json.dumps({"text": f"text {number % 30}", "label": number % 2}) for number in range(60)]
    (workspace / "all.jsonl").write_text("\n".join(lines))
    splits = {"path": "all.jsonl", "test_fraction": 0.2, "validation_fraction": 0.2}
    assert read(**splits)[1]["train_and_test"] > 0
    texts, leaks = read(**splits, on_leak=DROP)
    assert not set(texts["train"]) & set(texts["validation"])
    assert not set(texts["train"] + texts["validation"]) & set(texts["test"])
    assert sum(map(len, texts.values())) + leaks["dropped_from_train"] + leaks["dropped_from_validation"] == 60


def test_an_error_names_counts_and_locations_and_leaves_nothing(workspace, read):
    with pytest.raises(UserError, match=r"splits: splits share texts\n  train and test \(4\): ") as caught:
        read([*TRAIN, *TEST[:4]], TEST, DEV, on_leak="error")
    message = str(caught.value)
    assert message.count("train.jsonl line 4") == 3
    assert "train.jsonl line 42 = test.jsonl line 2" in message
    assert ", ...\nCorrect the data, or set data.on_leak to drop_from_train" in message
    assert list((workspace / "data").iterdir()) == []


def test_texts_that_differ_only_in_whitespace_are_the_same(read):
    one, *others = hash_texts((text, None) for text in ("a b", " a\n\tb\u3000", "ab", "A b", "a b."))
    assert [other == one for other in others] == [True, False, False, False]
    assert read([*TRAIN, ("test\r\n 1 ", "a")], TEST, DEV)[1]["train_and_test"] == 1


def test_a_pair_is_the_same_when_both_texts_are(read):
    one, *others = hash_texts([("a", "b c"), ("a ", "b  c"), ("a b", "c"), ("a", "b"), ("b c", "a")])
    assert [other == one for other in others] == [True, False, False, False]
    assert read([*TRAIN, TEST[0]], TEST, DEV, text_pair_column="pair")[1]["train_and_test"] == 1


def test_only_sampled_rows_are_counted(read):
    every = read([*TRAIN, *TEST], TEST, DEV)[1]
    texts, leaks = read([*TRAIN, *TEST], TEST, DEV, max_train_samples=20, max_test_samples=4, on_leak=DROP)
    assert every["train_and_test"] == 10 > leaks["train_and_test"]
    assert len(texts["train"]) == 20 - leaks["dropped_from_train"]


def test_a_class_that_would_lose_all_rows_is_an_error(read):
    rare = [("rare 1", "c"), ("rare 2", "c")]
    with pytest.raises(UserError, match=r"on_leak: found drop_.* no rows of 1 of the 3 classes of train \(c\): all"):
        read([*TRAIN, *rare], [*TEST, *rare], DEV, on_leak=DROP)
    with pytest.raises(UserError, match=r"no rows of 2 of the 2 classes of train \(a, b\)"):
        read(TRAIN, TRAIN, DEV, on_leak=DROP)


@pytest.mark.parametrize("on_leak", ["warn", DROP])
def test_the_same_rows_give_the_same_bytes(workspace, read, on_leak):
    written = []
    for _ in range(2):
        read([*TRAIN, *TEST], validation_fraction=0.5, on_leak=on_leak)
        written.append({path.name: path.read_bytes() for path in (workspace / "data/raw").iterdir()})
    assert len(written[0]) == 4
    assert written[0] == written[1]
