import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import download
from stages.core.errors import UserError
from stages.data.leaks import sort_different
from stages.data.rows import hash_texts

TRAIN = [(f"train {number}", "ab"[number % 2]) for number in range(40)]
TEST = [(f"test {number}", "ab"[number % 2]) for number in range(10)]
DEV = [(f"dev {number}", "ab"[number % 2]) for number in range(10)]
DROP = "drop_from_train"


@pytest.fixture
def read_texts(workspace, write_params):
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


def test_there_is_no_warning_when_splits_share_no_text(read_texts, capsys):
    texts, leaks = read_texts(dev=DEV, on_leak="error")
    assert leaks == dict.fromkeys(
        ["train_and_validation", "train_and_test", "validation_and_test", "dropped_from_train",
         "dropped_from_validation"], 0,
    )  # fmt: skip
    assert len(texts["train"]) == 40
    assert "warning" not in capsys.readouterr().out


def test_shared_texts_with_any_label_are_counted_with_a_warning(read_texts, capsys):
    train = [*TRAIN, ("dev 1", "a"), ("test 1", "a"), ("test 1", "b"), ("test 2", "a")]
    texts, leaks = read_texts(train, [*TEST, ("dev 2", "a")], DEV)
    assert list(leaks.values()) == [1, 2, 1, 0, 0]
    assert len(texts["train"]) == 44
    printed = capsys.readouterr().out
    assert "warning: train and validation share 1 text; data.on_leak: drop_from_train drops them from train" in printed
    assert "warning: train and test share 2 texts; data.on_leak: drop_from_train drops them from train" in printed
    assert "warning: validation and test share 1 text; data.on_leak: drop_from_train leaves both as they are" in printed


def test_training_rows_with_a_text_of_validation_or_test_are_dropped(read_texts, capsys):
    train = [("test 1", "a"), *TRAIN, ("dev 1", "a"), ("test 1", "b"), ("test 2", "a")]
    texts, leaks = read_texts(train, [*TEST, ("dev 2", "a")], DEV, on_leak=DROP)
    assert texts["train"] == [text for text, _ in TRAIN]
    assert (len(texts["validation"]), len(texts["test"])) == (10, 11)
    assert list(leaks.values()) == [1, 2, 1, 4, 0]
    printed = capsys.readouterr().out
    assert "dropped: text is in another split too (4 rows of train)" in printed
    assert printed.count("warning") == 1  # of what the source has in both validation and test


def test_a_carved_validation_split_loses_texts_of_test_too(read_texts, capsys):
    texts, leaks = read_texts([*TRAIN, *TEST], validation_fraction=0.5, on_leak=DROP)
    assert sorted(texts["train"] + texts["validation"]) == sorted(text for text, _ in TRAIN)
    assert (leaks["dropped_from_train"], leaks["dropped_from_validation"]) == (
        leaks["train_and_test"], leaks["validation_and_test"]
    )  # fmt: skip
    assert leaks["dropped_from_validation"] > 0
    assert len(texts["test"]) == 10
    assert "warning" not in capsys.readouterr().out


def test_texts_that_a_file_repeats_leak_into_the_splits_carved_from_it(workspace, read_texts):
    lines = [json.dumps({"text": f"text {number % 30}", "label": number % 2}) for number in range(60)]
    (workspace / "all.jsonl").write_text("\n".join(lines))
    splits = {"path": "all.jsonl", "test_fraction": 0.2, "validation_fraction": 0.2}
    assert read_texts(**splits)[1]["train_and_test"] > 0
    texts, leaks = read_texts(**splits, on_leak=DROP)
    assert not set(texts["train"]) & set(texts["validation"])
    assert not set(texts["train"] + texts["validation"]) & set(texts["test"])
    assert sum(map(len, texts.values())) + leaks["dropped_from_train"] + leaks["dropped_from_validation"] == 60


def test_an_error_names_counts_and_locations_and_leaves_nothing(workspace, read_texts):
    with pytest.raises(UserError, match=r"splits: splits share texts\n  train and test \(4\): ") as caught:
        read_texts([*TRAIN, *TEST[:4]], TEST, DEV, on_leak="error")
    message = str(caught.value)
    assert message.count("train.jsonl line 4") == 3
    assert "train.jsonl line 42 = test.jsonl line 2" in message
    assert ", ...\nCorrect the data, or set data.on_leak to drop_from_train" in message
    assert list((workspace / "data").iterdir()) == []


def test_texts_that_differ_only_in_whitespace_are_the_same(read_texts):
    one, *others = hash_texts((text, None) for text in ("a b", " a\n\tb\u3000", "ab", "A b", "a b."))
    assert [other == one for other in others] == [True, False, False, False]
    assert read_texts([*TRAIN, ("test\r\n 1 ", "a")], TEST, DEV)[1]["train_and_test"] == 1


def test_a_pair_is_the_same_when_both_texts_are(read_texts):
    one, *others = hash_texts([("a", "b c"), ("a ", "b  c"), ("a b", "c"), ("a", "b"), ("b c", "a")])
    assert [other == one for other in others] == [True, False, False, False]
    assert read_texts([*TRAIN, TEST[0]], TEST, DEV, text_pair_column="pair")[1]["train_and_test"] == 1


@given(st.lists(st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])))
def test_different_hashes_are_found_as_numpy_finds_them(values):
    hashes = np.array(values, dtype=np.uint64)
    assert sort_different(hashes).tolist() == np.unique(hashes).tolist()


def test_only_sampled_rows_are_counted(read_texts):
    every = read_texts([*TRAIN, *TEST], TEST, DEV)[1]
    texts, leaks = read_texts([*TRAIN, *TEST], TEST, DEV, max_train_samples=20, max_test_samples=4, on_leak=DROP)
    assert every["train_and_test"] == 10 > leaks["train_and_test"]
    assert len(texts["train"]) == 20 - leaks["dropped_from_train"]


def test_a_class_that_would_lose_all_rows_is_an_error(read_texts):
    rare = [("rare 1", "c"), ("rare 2", "c")]
    with pytest.raises(UserError, match=r"on_leak: found drop_.* no rows of 1 of the 3 classes of train \(c\): all"):
        read_texts([*TRAIN, *rare], [*TEST, *rare], DEV, on_leak=DROP)
    with pytest.raises(UserError, match=r"no rows of 2 of the 2 classes of train \(a, b\)"):
        read_texts(TRAIN, TRAIN, DEV, on_leak=DROP)


@pytest.mark.parametrize("on_leak", ["warn", DROP])
def test_the_same_rows_give_the_same_bytes(workspace, read_texts, on_leak):
    written = []
    for _ in range(2):
        read_texts([*TRAIN, *TEST], validation_fraction=0.5, on_leak=on_leak)
        written.append({path.name: path.read_bytes() for path in (workspace / "data/raw").iterdir()})
    assert len(written[0]) == 4
    assert written[0] == written[1]


@pytest.fixture
def read_groups(read_rows):
    """Read given splits of texts that differ, with an author each; return the authors of each split, and the counts."""

    def run(on_leak, dev=("e", "f"), **data):
        authors = {"train": "aabbccdde", "test": "abgh", "dev": dev}
        splits = {
            split: [{"text": f"{split} {n}", "label": n % 2, "author": name} for n, name in enumerate(names)]
            for split, names in authors.items()
            if names
        }
        rows, manifest = read_rows(splits, group_column="author", on_leak=on_leak, **data)
        return {split: "".join(row[2] for row in of_split) for split, of_split in rows.items()}, manifest["leaks"]

    return run


def test_groups_in_two_splits_are_counted_with_a_warning(read_groups, capsys):
    authors, leaks = read_groups("warn")
    assert authors == {"train": "aabbccdde", "validation": "ef", "test": "abgh"}
    assert leaks == dict.fromkeys(["train_and_validation", "train_and_test", "validation_and_test"], 0) | {
        "train_and_validation_groups": 1, "train_and_test_groups": 2, "validation_and_test_groups": 0,
        "dropped_from_train": 0, "dropped_from_validation": 0,
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "warning: train and test share 2 groups; data.on_leak: drop_from_train drops them from train" in printed


def test_training_rows_of_a_group_of_validation_or_test_are_dropped(read_groups, capsys):
    authors, leaks = read_groups(DROP)
    assert authors == {"train": "ccdd", "validation": "ef", "test": "abgh"}
    assert (leaks["train_and_test_groups"], leaks["dropped_from_train"]) == (2, 5)
    printed = capsys.readouterr().out
    assert "dropped: group is in another split too (5 rows of train)" in printed
    assert "warning" not in printed


def test_a_carved_validation_split_loses_groups_of_test_too(read_groups):
    authors, _ = read_groups(DROP, dev=(), validation_fraction=0.5)
    assert not set(authors["train"]) & set(authors["validation"] + "ab")
    assert not set(authors["validation"]) & set("ab")
    assert authors["test"] == "abgh"


def test_an_error_names_groups_and_locations(read_groups):
    message = (
        r"given: splits share groups\n  train and validation \(1\): e in train.jsonl line 9 = e in dev.jsonl line 1\n"
        r"  train and test \(2\): (a in train.jsonl line 1 = a in test.jsonl line 1(, b .*)?|b .*, a .*)\nCorrect"
    )
    with pytest.raises(UserError, match=message):
        read_groups("error")


def test_classes_of_which_all_groups_are_in_test_are_an_error(read_rows):
    rows = [{"text": f"{n}", "label": "ab"[n % 2], "author": "xy"[n % 2]} for n in range(40)]
    test = [{"text": f"test {n}", "label": "ab"[n % 2], "author": "yz"[n % 2]} for n in range(40)]
    dev = [row | {"text": f"dev {row['text']}", "author": "v"} for row in rows]
    with pytest.raises(UserError, match=r"no rows of 1 of the 2 classes of train \(b\): all their groups are in other"):
        read_rows({"train": rows, "test": test, "dev": dev}, group_column="author", on_leak=DROP)
