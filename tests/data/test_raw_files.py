import pytest

from stages.core.errors import UserError

STARS = ["bad", "ok", "good"]
ROWS = [
    {
        "text": f"text {n}",
        "label": STARS[n % 3],
        "channel": ["web", " mail ", None][n % 3],
        "year": [2024, 2025.0][n % 2],
    }
    for n in range(60)
]
SLICES = {"slice_columns": ["channel", "year"]}


def test_slices_are_texts_in_columns_of_their_own(read_rows):
    rows, manifest = read_rows(ROWS, **SLICES)
    found = sorted((row for of_split in rows.values() for row in of_split), key=lambda row: int(row[0][5:]))
    assert found[:3] == [
        ("text 0", "bad", "web", "2024"),
        ("text 1", "ok", "mail", "2025"),
        ("text 2", "good", "", "2024"),
    ]
    assert len(found) == 60
    assert (manifest["slice_columns"], manifest["columns"]) == (["channel", "year"], ["text", "label"])


def test_slices_change_no_split(read_rows):
    plain, sliced = read_rows(ROWS)[0], read_rows(ROWS, **SLICES)[0]
    assert {split: [row[:2] for row in rows] for split, rows in sliced.items()} == plain


def test_columns_come_in_one_order(read_rows):
    rows = [row | {"author": number, "more": "x"} for number, row in enumerate(ROWS)]
    found, _ = read_rows(rows, text_pair_column="more", group_column="author", slice_columns=["year"])
    assert ("text 4", "x", "ok", "4", "2024") in [row for of_split in found.values() for row in of_split]


def test_a_column_may_be_text_and_slice_and_group(read_rows):
    found, _ = read_rows(ROWS, group_column="text", slice_columns=["label", "text"])
    assert ("text 4", "ok", "text 4", "ok", "text 4") in [row for of_split in found.values() for row in of_split]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_a_column_of_slices_that_one_file_lacks_is_an_error(workspace, read, suffix):
    import pandas as pd

    (workspace / "given").mkdir()
    for split, rows in (("train", ROWS), ("test", [{"text": row["text"], "label": row["label"]} for row in ROWS])):
        table, path = pd.DataFrame(rows), workspace / f"given/{split}.{suffix}"
        if suffix == "csv":
            table.to_csv(path, index=False)
        elif suffix == "json":
            table.to_json(path, orient="records", lines=True)
        else:
            table.to_parquet(path)
    with pytest.raises(UserError, match=rf"data.slice_columns: .*test.{suffix} has no (column )?'channel'"):
        read(source=suffix, path="given", **SLICES)


def test_objects_may_lack_a_slice(read_rows):
    rows = [row if number % 2 else {"text": row["text"], "label": row["label"]} for number, row in enumerate(ROWS)]
    found, _ = read_rows(rows, **SLICES)
    assert ("text 4", "ok", "", "") in [row for of_split in found.values() for row in of_split]


def test_a_slice_that_is_a_list_makes_a_bad_row(read_rows):
    with pytest.raises(UserError, match=r"slice is neither text nor a number \(1\): all.jsonl line 61"):
        read_rows([*ROWS, ROWS[0] | {"channel": ["web"]}], **SLICES)


@pytest.mark.parametrize(
    ("values", "order", "names"),
    [
        (STARS, STARS, None),
        ((1, 2, 10), [10, 2, 1], None),
        ((1, 2, 3), ["low", "mid", "high"], {3: "high", 1: "low", 2: "mid"}),
        ((True, False, True), [True, False], None),
    ],
)
def test_the_order_of_labels_is_that_of_the_params(read_rows, values, order, names):
    rows = [row | {"label": values[number % 3]} for number, row in enumerate(ROWS)]
    _, manifest = read_rows(rows, label_order=order, label_names=names)
    assert manifest["labels"] == [str(label).lower() for label in order]
    assert manifest["is_ordinal"]
    assert list(manifest["splits"]["test"]["classes"]) == manifest["labels"]
    assert read_rows(rows, label_names=names)[1]["is_ordinal"] is False


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["bad", "ok"], r"data.label_order: lacks good; it must hold all labels, which are bad, ok, good"),
        ([*STARS, "great"], r"data.label_order: has great, which no row of train has; it must"),
        (["poor", "ok", "good"], r"data.label_order: lacks bad and has poor, which no row of train has; it must"),
    ],
)
def test_an_order_of_other_labels_is_an_error(read_rows, order, message):
    with pytest.raises(UserError, match=message):
        read_rows(ROWS, label_order=order)


def test_lists_of_labels_have_no_order(read_rows):
    with pytest.raises(UserError, match=r"data.label_order: found \['bad', .*; labels are lists, which have no order"):
        read_rows([row | {"label": [row["label"]]} for row in ROWS], label_order=STARS)


def test_the_same_rows_give_the_same_bytes(read_rows):
    rows = [row | {"label": STARS[: number % 4], "author": number // 2} for number, row in enumerate(ROWS)]
    params = SLICES | {"group_column": "author", "max_train_samples": 40, "validation_fraction": 0.2}
    manifests = [read_rows(rows, **params)[1] for _ in range(2)]
    assert manifests[0] == manifests[1]
    assert manifests[0]["problem_type"] == "multi_label_classification"
