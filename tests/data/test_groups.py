import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.data_section import Data
from stages.core.errors import UserError
from stages.data.corpus import SPLITS, UNSPLIT, Corpus
from stages.data.groups import carve_groups
from stages.data.labels import LabelSets
from stages.data.rows import Row
from stages.data.splits import choose_rows, count_labels

GROUPED = {"group_column": "author"}


def make_rows(count, groups, prefix="text"):
    """Rows with two labels and an author each, who has one or more rows."""
    return [
        {"text": f"{prefix} {n}", "label": "ab"[n % 2], "author": f"{prefix} author {n * groups // count}"}
        for n in range(count)
    ]


def find_groups(rows):
    return {split: {row[2] for row in of_split} for split, of_split in rows.items()}


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_a_group_are_in_one_split(read_rows, seed):
    rows, manifest = read_rows(make_rows(200, 50), seed, **GROUPED)
    found = find_groups(rows)
    assert sum(map(len, found.values())) == len(set.union(*found.values())) == 50
    assert sum(map(len, rows.values())) == 200
    assert abs(len(rows["test"]) - 20) <= 4
    assert manifest["has_groups"]
    assert [manifest["leaks"][f"{pair}_groups"] for pair in ("train_and_validation", "train_and_test")] == [0, 0]
    assert read_rows(make_rows(200, 50), seed, **GROUPED)[0] == rows


def test_groups_of_uneven_size_give_shares_close_to_what_is_wanted():
    sizes = [120, 60, 30] + [10] * 20
    groups = np.repeat(np.arange(len(sizes)), sizes)
    classes = np.arange(len(groups)) % 3 % 2
    is_carved = carve_groups(groups, classes, LabelSets(["a", "b"]), 0.2, seed=1)
    assert abs(is_carved.mean() - 0.2) < 0.05
    assert np.abs(np.bincount(classes[is_carved]) / np.bincount(classes) - 0.2).max() < 0.05


def test_of_all_draws_one_is_taken_that_leaves_each_label_to_the_rest():
    groups = np.arange(40) // 2
    classes = np.where(groups < 2, 1, 0)  # two of twenty groups have the second class
    for seed in range(20):
        is_carved = carve_groups(groups, classes, LabelSets(["a", "b"]), 0.5, seed)
        assert len(set(classes[is_carved])) == len(set(classes[~is_carved])) == 2


@st.composite
def corpora(draw):
    """Rows with one label, or several, in groups of any size; and the params to split them by."""
    number = draw(st.integers(30, 80))
    groups = draw(st.lists(st.integers(0, 14), min_size=number, max_size=number))
    is_multi_label = draw(st.booleans())
    label = st.lists(st.sampled_from("abc"), max_size=3) if is_multi_label else st.sampled_from("ab")
    labels = draw(st.lists(label, min_size=number, max_size=number))
    rows = [Row(f"{n}", f"text {n}", labels[n], group=groups[n]) for n in range(number)]
    return rows, draw(st.sampled_from([None, "author"])), draw(st.integers(20, 80)), draw(st.integers(0, 2**32 - 1))


@given(corpora())
@settings(max_examples=50, deadline=None)
def test_each_row_is_in_one_split_and_so_is_each_group(drawn):
    rows, column, limit, seed = drawn
    data = Data(source="json", path="x", group_column=column, max_train_samples=limit, test_fraction=0.2)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Corpus(data, Path(folder))
        corpus.add(UNSPLIT, rows)
    try:
        corpus.check()
        splits = choose_rows(corpus, data, seed)
    except UserError as error:
        assert any(text in str(error) for text in ("data.group_column: found 'author'", "rows", "classes"))  # noqa: PT017
        return
    chosen = np.concatenate([splits[split].rows for split in SPLITS])
    assert len(set(chosen.tolist())) == len(chosen)
    assert len(splits["train"].rows) + len(splits["validation"].rows) == min(
        limit, len(rows) - len(splits["test"].rows)
    )
    assert ((count_labels(corpus, splits["train"]) > 0) == (count_labels(corpus, splits["test"]) >= 0)).all()
    if column:
        splits_of = defaultdict(set)
        for split in SPLITS:
            for row in splits[split].rows:
                splits_of[rows[row].group].add(split)
        assert max(map(len, splits_of.values())) == 1


@pytest.mark.parametrize("group", [None, "", " "])
def test_a_row_without_a_group_is_a_bad_row(read_rows, group):
    rows = make_rows(40, 20)
    rows[6]["author"] = group
    with pytest.raises(UserError, match=r"\n  missing group \(1\): all.jsonl line 7\n"):
        read_rows(rows, **GROUPED)
    assert read_rows(rows, **GROUPED, on_bad_rows="drop")[1]["dropped"] == {"all": {"missing group": 1}}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (make_rows(40, 1), r"data.group_column: found 'author'; 40 rows are all of one group, so they cannot be split"),
        (
            [row | {"author": row["label"]} for row in make_rows(40, 1)],
            r"data.group_column: found 'author'; a split of whole groups with 0.1 of the rows, or with 5 groups "
            "more, has not two classes, and as many rows as there are classes, .*. Raise the fraction. Give the source",
        ),
        (
            [row | {"author": "abc"[n % 3], "label": ["x", "y", "z"][n % 3]} for n, row in enumerate(make_rows(40, 1))],
            r"data.group_column: found 'author'; a split of whole groups with 0.1 of the rows",
        ),
        (
            [
                row | {"author": "abc"[n % 3], "label": [["x"], ["y"], ["y", "z"]][n % 3]}
                for n, row in enumerate(make_rows(40, 1))
            ],
            r"found 'author'; a split of whole groups \(data.validation_fraction 0.1\) would leave train no rows of 1 "
            r"of the 3 classes \(x\), because too few groups have them. Give the source its own splits",
        ),
    ],
)
def test_too_few_groups_are_an_error_that_names_the_column(read_rows, rows, message):
    with pytest.raises(UserError, match=message):
        read_rows(rows, **GROUPED)


def test_few_groups_of_one_label_each_are_split_with_more_of_them(read_rows):
    rows = [row | {"author": f"author {n // 4}", "label": "xy"[n // 4 % 2]} for n, row in enumerate(make_rows(40, 1))]
    found, _ = read_rows(rows, **GROUPED)
    assert all({row[1] for row in of_split} == {"x", "y"} for of_split in found.values())


def test_a_sample_is_one_of_rows(read_rows):
    rows, _ = read_rows(make_rows(200, 50), **GROUPED, max_train_samples=60, max_test_samples=10)
    assert (len(rows["train"]) + len(rows["validation"]), len(rows["test"])) == (60, 10)
    found = find_groups(rows)
    assert not found["train"] & found["validation"]
