import functools
import gzip
import hashlib
import http.server
import json
import os
import tarfile
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.core.errors import UserError
from stages.data.sources import link_source


@pytest.fixture
def reviews(workspace):
    """A folder of 20 train and 10 test texts for each label, and of other files."""
    folder = workspace / "corpus"
    for split, count in (("train", 20), ("test", 10)):
        for label in ("neg", "pos"):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                (folder / split / label / f"{number}.txt").write_text(f"{split} {label} {number}: déjà vu")
    (folder / "README").write_text("about")
    (folder / "train/unsup").mkdir()
    for number in range(3):
        (folder / "train/unsup" / f"{number}.txt").write_text("no label")
    return folder


@pytest.fixture
def read_folder(read):
    return lambda **data: read(**{"source": "folder", "path": "corpus"} | data)


def test_a_folder_gives_texts_labels_and_a_validation_split(reviews, read_folder):
    rows, _ = read_folder(validation_fraction=0.2)
    assert {split: len(found) for split, found in rows.items()} == {"train": 32, "validation": 8, "test": 20}
    assert ("test pos 3: déjà vu", "pos") in rows["test"]
    assert not set(rows["train"]) & set(rows["validation"])


def test_other_entries_are_ignored_and_counted(reviews, read_folder):
    assert read_folder()[1]["ignored"] == {"train/unsup": 3, "README": 1}


def add_a_rare_class(folder):
    (folder / "train/ra\x1b[2Jre").mkdir()
    for number in range(7):
        (folder / f"train/ra\x1b[2Jre/{number}.txt").write_text(f"rare {number}")


def test_a_class_that_test_lacks_is_trained_and_reported(reviews, read_folder, capsys):
    add_a_rare_class(reviews)
    rows, manifest = read_folder()
    assert manifest["labels"] == ["neg", "pos", "ra\x1b[2Jre"]
    assert manifest["ignored"] == {"train/unsup": 3, "README": 1}
    assert manifest["missing_classes"] == {"test": {"ra\x1b[2Jre": 6}}
    assert len([label for _, label in rows["train"] + rows["validation"] if label.startswith("ra")]) == 7
    assert (
        "warning: test has no rows of 1 of the classes of train: ra\\x1b[2Jre (6 rows); nothing will be known about "
        "results on them\n"
    ) in capsys.readouterr().err


def test_a_class_that_test_lacks_is_an_error_on_request(reviews, read_folder):
    assert read_folder(on_missing_class="error")[1]["missing_classes"] == {}
    add_a_rare_class(reviews)
    message = r"corpus: test has no rows of 1 of the classes of train: ra\\x1b\[2Jre \(6 rows\). Add .* to warn"
    with pytest.raises(UserError, match=message):
        read_folder(on_missing_class="error")


def test_a_large_file_of_another_kind_is_not_read_and_a_text_is_limited(reviews, read_folder):
    (reviews / "model.bin").touch()
    os.truncate(reviews / "model.bin", 1 << 42)  # 4 TiB of holes: it takes no disk, but would not fit into memory
    assert read_folder()[1]["ignored"] == {"train/unsup": 3, "README": 1, "model.bin": 1}
    os.truncate(reviews / "test/pos/1.txt", 2_000_000)
    with pytest.raises(UserError, match=r"test/pos/1.txt: contains more than the 0.001 GB that data.max_size_gb"):
        read_folder(max_size_gb=0.001)


@pytest.mark.parametrize("name", ["validation", "dev"])
def test_a_validation_split_of_the_source_is_used(reviews, read_folder, name):
    (reviews / "train").rename(reviews / name)
    for label in ("neg", "pos"):
        (reviews / "train" / label).mkdir(parents=True)
        (reviews / "train" / label / "1.txt").write_text(f"only {label}")
    assert len(read_folder()[0]["validation"]) == 40


@pytest.mark.parametrize("enclosing", ["", "aclImdb/"])
def test_an_archive_gives_the_same_bytes_as_its_folder(reviews, read_folder, tmp_path, enclosing):
    with tarfile.open(tmp_path / "corpus.tar.gz", "w:gz") as archive:
        for path in sorted(reviews.rglob("*"), reverse=True):
            archive.add(path, enclosing + str(path.relative_to(reviews)), recursive=False)
    assert read_folder()[1]["splits"] == read_folder(path="corpus.tar.gz")[1]["splits"]


def test_two_names_of_one_split_are_refused(reviews, read_folder):
    for name in ("dev", "val"):
        (reviews / name / "pos").mkdir(parents=True)
        (reviews / name / "pos/1.txt").write_text("x")
    with pytest.raises(UserError, match=r"corpus: dev and val could both be the split 'validation'; name one in"):
        read_folder()


def test_samples_are_stratified_and_drawn_with_the_seed(reviews, read_folder):
    one, same, other = (read_folder(seed=seed, max_train_samples=10)[0] for seed in (1, 1, 2))
    assert len(one["train"]) + len(one["validation"]) == 10
    assert one == same != other
    assert sorted(label for _, label in read_folder(max_test_samples=6)[0]["test"]) == ["neg"] * 3 + ["pos"] * 3


@pytest.fixture
def serve(tmp_path):
    """The address of an HTTP server for the files of a folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_url_is_read_and_its_checksum_verified(reviews, read_folder, tmp_path, serve):
    with tarfile.open(tmp_path / "corpus.tar.gz", "w:gz") as archive:
        archive.add(reviews, "corpus")
    checksum = hashlib.sha256((tmp_path / "corpus.tar.gz").read_bytes()).hexdigest()
    assert len(read_folder(path=f"{serve}/corpus.tar.gz", sha256=checksum)[0]["test"]) == 20
    with pytest.raises(UserError, match=r"data.sha256: .* its SHA-256 is .*, expected 0000"):
        read_folder(path=f"{serve}/corpus.tar.gz", sha256="0" * 64)
    with pytest.raises(UserError, match=r"data.path: .*/none.tar.gz cannot be fetched \(404"):
        read_folder(path=f"{serve}/none.tar.gz")


def break_test_label(folder):
    (folder / "test/pos").rename(folder / "test/great")


def remove_a_class(folder):
    for split in ("train", "test"):
        (folder / split / "pos").rename(folder / f"{split}-pos")
    (folder / "train/unsup").rename(folder / "unsup")


def remove_test(folder):
    (folder / "test").rename(folder / "tests")


def remove_a_class_of_test(folder):
    (folder / "test/pos").rename(folder / "test-pos")


def add_a_data_set(folder):
    (folder / "more/train/pos").mkdir(parents=True)
    (folder / "more/train/pos/1.txt").write_text("x")


def leave_one_row(folder):
    for split in ("train", "test"):
        (folder / split / "rare").mkdir()
        (folder / split / "rare/1.txt").write_text("x")


def add_a_dangling_link(folder):
    (folder / "train/pos/x.txt").symlink_to(folder / "nowhere")


def break_encoding(folder):
    (folder / "train/pos/7.txt").write_bytes(b"caf\xe9")


def empty_a_text(folder):
    (folder / "test/pos/7.txt").write_bytes(b" \n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            break_test_label,
            r"10 rows cannot be used\n  label unknown to train \(10\): test/great/0.txt \(great\), .*\.\.\.",
        ),
        (remove_a_class, r"split 'train' has one class \(neg\) in 20 rows; need two"),
        (remove_a_class_of_test, r"split 'test' has one class \(neg\) in 10 rows; need two"),
        (add_a_data_set, r"contains several data sets \(\., more\); give the path of one"),
        (leave_one_row, r"data.validation_fraction: found 0.1; of 41 rows .* none of 1 of the 3 classes \(rare\)"),
        (add_a_dangling_link, r"train/pos/x.txt: neither a file nor a folder"),
        (remove_test, r"no split 'test'; expected test/<label>/\*.txt, found .*tests"),
        (break_encoding, r"1 row cannot be used\n  text is not utf-8 \(1\): train/pos/7.txt"),
        (empty_a_text, r"1 row cannot be used\n  empty text \(1\): test/pos/7.txt"),
    ],
)
def test_an_error_in_the_data_is_described(reviews, read_folder, damage, message):
    damage(reviews)
    with pytest.raises(UserError, match=message):
        read_folder()


@pytest.mark.parametrize("key", ["max_train_samples", "max_test_samples"])
def test_fewer_samples_than_classes_are_an_error(reviews, read_folder, key):
    with pytest.raises(UserError, match=rf"data.{key}: found 1; the data has 2 classes"):
        read_folder(**{key: 1})


def test_hidden_folders_are_no_labels(reviews, read_folder):
    for split in ("train", "test"):
        (reviews / split / ".checkpoints").mkdir()
        (reviews / split / ".checkpoints/1.txt").write_text("x")
    assert read_folder()[1]["labels"] == ["neg", "pos"]


def test_a_missing_path_and_a_wrong_checksum_are_errors(reviews, read_folder, tmp_path):
    with pytest.raises(UserError, match=r"data.path: nowhere does not exist \(looked at .*/nowhere\)"):
        read_folder(path="nowhere")
    with pytest.raises(UserError, match=r"data.sha256: given, but data.path is a folder"):
        read_folder(sha256="0" * 64)
    with tarfile.open(tmp_path / "corpus.tar.gz", "w:gz") as archive:
        archive.add(reviews, "corpus")
    with pytest.raises(UserError, match=r"corpus.tar.gz: its SHA-256 is .*, expected 0000"):
        read_folder(path="corpus.tar.gz", sha256="0" * 64)


def test_a_local_source_is_linked_for_dvc(reviews, params, tmp_path):
    link_source(params({"data.source": "folder", "data.path": "corpus"}).data, tmp_path / "data/source")
    assert (tmp_path / "data/source/folder").resolve() == reviews
    link_source(params({"data.source": "folder", "data.path": "http://x/y.zip"}).data, tmp_path / "data/source")
    assert (tmp_path / "data/source/folder").read_text() == "http://x/y.zip\n"
    assert reviews.is_dir()


# Files of rows

ROWS = [(f'text {number}, with a comma\nand a "line" 😀', "good" if number % 3 else "bad") for number in range(60)]


def write_csv(path, rows=ROWS, header="label,text", **encoding):
    lines = [f'{label},"{text.replace(chr(34), chr(34) * 2)}"' for text, label in rows]
    with path.open("w", newline="", **{"encoding": "utf-8"} | encoding) as file:
        file.write("\n".join([header, *lines] if header else lines) + "\n")


def test_one_file_is_split_stratified_with_the_seed(workspace, read):
    write_csv(workspace / "all.csv")
    rows, manifest = read(source="csv", path="all.csv", test_fraction=0.2, validation_fraction=0.25)
    assert {split: len(found) for split, found in rows.items()} == {"train": 36, "validation": 12, "test": 12}
    assert sorted(row for found in rows.values() for row in found) == sorted(ROWS)
    assert manifest["splits"]["test"]["classes"] == {"bad": 4, "good": 8}
    assert read(seed=2, source="csv", path="all.csv")[0] != read(seed=3, source="csv", path="all.csv")[0]


@pytest.mark.parametrize(
    ("source", "name"), [("csv", "all.csv"), ("json", "all.jsonl"), ("parquet", "all.parquet"), ("csv", "part.csv.gz")]
)
def test_all_formats_give_the_same_bytes(workspace, read, source, name):
    write_csv(workspace / "all.csv")
    objects = [{"text": text, "label": label, "more": None} for text, label in ROWS]
    (workspace / "all.jsonl").write_text("".join(f"{json.dumps(values)}\n\n" for values in objects))
    pq.write_table(pa.Table.from_pylist(objects), workspace / "all.parquet")
    (workspace / "part.csv.gz").write_bytes(gzip.compress((workspace / "all.csv").read_bytes()))
    assert read(source=source, path=name)[1]["splits"] == read(source="csv", path="all.csv")[1]["splits"]


def test_a_folder_of_files_has_a_split_a_file(workspace, read):
    (workspace / "data").mkdir()
    write_csv(workspace / "data/train-00000-of-00002.csv", ROWS[:20])
    write_csv(workspace / "data/train-00001-of-00002.csv", ROWS[20:40])
    write_csv(workspace / "data/dev.csv", ROWS[40:50])
    write_csv(workspace / "data/test.csv", ROWS[50:])
    (workspace / "data/notes.md").write_text("about")
    rows, manifest = read(source="csv", path="data")
    assert (rows["train"], rows["validation"], rows["test"]) == (ROWS[:40], ROWS[40:50], ROWS[50:])
    assert manifest["ignored"] == {"notes.md": 1}
    rows, _ = read(source="csv", path="data", splits={"train": "test", "test": "dev"})
    assert (len(rows["train"] + rows["validation"]), rows["test"]) == (10, ROWS[40:50])
    with pytest.raises(
        UserError, match=r"data: no split 'test'; expected final.csv, found dev.csv, notes.md, test.csv"
    ):
        read(source="csv", path="data", splits={"test": "final"})
    write_csv(workspace / "data/valid.csv", ROWS[40:50])
    with pytest.raises(UserError, match=r"the split 'validation' could be dev.csv, valid.csv; expected one"):
        read(source="csv", path="data")


@pytest.mark.parametrize(
    "names", [["train.csv", "train.tsv"], ["train-00000-of-00003.csv"], ["train.csv", "train-0-of-1.csv"]]
)
def test_files_that_are_not_all_parts_of_one_are_an_error(workspace, read, names):
    (workspace / "data").mkdir()
    for name in [*names, "test.csv"]:
        write_csv(workspace / f"data/{name}", ROWS[:20])
    with pytest.raises(UserError, match=r"the split 'train' could be train"):
        read(source="csv", path="data")


def test_columns_without_header_have_numbers_and_quotes_may_be_text(workspace, read):
    lines = [f'"half open {number}\t{"no" if number % 2 else "yes"}\n' for number in range(40)]
    (workspace / "all.tsv").write_text("".join(["whole\tyes\n", *lines]), encoding="utf-8")
    form = {"text_column": 0, "label_column": 1, "header": False, "delimiter": "\\t", "quotechar": None}
    rows, _ = read(source="csv", path="all.tsv", **form)
    assert ('"half open 7', "no") in [row for found in rows.values() for row in found]
    with pytest.raises(UserError, match=r"(?s)broken quotes .* If quotes are a part of the text, set data.quotechar"):
        read(source="csv", path="all.tsv", **form | {"quotechar": '"'})
    with pytest.raises(UserError, match=r"data.text_column: found 'text'; with data.header false .* numbers, 0 to 1"):
        read(source="csv", path="all.tsv", **form | {"text_column": "text"})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_texts_are_not_changed(workspace, read, encoding):
    texts = [
        "好吃！１２３",
        "مرحبا بالعالم",
        "a\x00b",
        "👩‍👩‍👧 fine",
        "line\r\n\r\nline",
        "é or é",
        "x" * 10_000_000,
        '"',
    ]
    rows = [(text, str(label)) for text in texts for label in (1, 2)]
    write_csv(workspace / "all.csv", rows, encoding=encoding)
    given = "utf-8" if encoding == "utf-8-sig" else encoding
    found, _ = read(source="csv", path="all.csv", encoding=given, validation_fraction=0.2, test_fraction=0.2)
    assert sorted(row for rows in found.values() for row in rows) == sorted(rows)


@pytest.mark.parametrize(
    ("values", "names", "labels"),
    [
        ((1, 2, 10), None, ["1", "2", "10"]),
        (("b", "c", "a"), None, ["a", "b", "c"]),
        ((1.0, 2.0, 3.0), {3: "good", 2: "fair", 1: "bad"}, ["good", "fair", "bad"]),
        ((1, 2, 3), {1: "bad", 2: "bad", 3: "good"}, ["bad", "good"]),
        ((True, False, True), {True: "yes", False: "no"}, ["yes", "no"]),
    ],
)
def test_labels_are_numbers_strings_or_named_in_params(workspace, read, values, names, labels):
    rows = [{"text": f"{number}", "label": values[number % 3]} for number in range(60)]
    (workspace / "all.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert read(source="json", path="all.jsonl", label_names=names)[1]["labels"] == labels


def test_pairs_of_texts_are_kept(workspace, read):
    rows = [{"a": f"{n}", "b": f"{n + 1}", "label": n % 2} for n in range(40)]
    (workspace / "all.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found, _ = read(source="json", path="all.jsonl", text_column="a", text_pair_column="b")
    assert ("3", "4", "1") in [row for rows in found.values() for row in rows]


GOOD = [f'{{"text": "text {number}", "label": "{"ab"[number % 2]}"}}' for number in range(30)]
BAD = {
    "missing label": '{"text": "x", "label": null}',
    "empty text": '{"text": " ", "label": "a"}',
    "text is not a string": '{"text": 3, "label": "a"}',
    "missing text": '{"text": null, "label": "a"}',
    "missing column 'label'": '{"text": "x"}',
    "not valid JSON": '{"text": "x"',
    "not a JSON object": '"x"',
    "text is not utf-8": '{"text": "\\ud83d", "label": "a"}',
    "label is neither text nor a number": '{"text": "x", "label": {"a": 1}}',
    "label is a list, unlike the labels before": '{"text": "x", "label": ["a"]}',
}


def test_bad_rows_are_listed_by_reason_and_location(workspace, read):
    lines = [*GOOD[:10], *BAD.values(), *GOOD[10:], *[BAD["empty text"]] * 4]
    (workspace / "all.jsonl").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"all.jsonl: 14 rows cannot be used") as caught:
        read(source="json", path="all.jsonl")
    message = str(caught.value)
    assert "\n  empty text (5): all.jsonl line 12, all.jsonl line 41, all.jsonl line 42, ..." in message
    assert "\n  missing label (1): all.jsonl line 11" in message
    assert "missing column 'label' (1): all.jsonl line 15 (has text)" in message
    assert "data.on_bad_rows to drop" in message
    rows, manifest = read(source="json", path="all.jsonl", on_bad_rows="drop")
    assert sum(len(found) for found in rows.values()) == 30
    assert manifest["dropped"] == {"all": dict(sorted((dict.fromkeys(BAD, 1) | {"empty text": 5}).items()))}


def test_bad_rows_of_a_csv_are_listed_with_their_line(workspace, read):
    write_csv(workspace / "all.csv", ROWS[:20])
    with (workspace / "all.csv").open("ab") as file:
        file.write(b'a,b,c\nbad,"caf\xe9"\n\n,no label\nx,"open" quote\n')
    with pytest.raises(UserError) as caught:
        read(source="csv", path="all.csv")
    message = str(caught.value)
    assert "wrong number of columns (1): all.csv row 21 (line 42)" in message
    assert "text is not utf-8 (1): all.csv row 22 (line 43)" in message
    assert "missing label (1): all.csv row 23 (line 45)" in message
    assert "broken quotes (1): all.csv row 24 (line 46)" in message
    assert read(source="csv", path="all.csv", on_bad_rows="drop")[1]["dropped"]["all"] == {
        "broken quotes": 1, "missing label": 1, "text is not utf-8": 1, "wrong number of columns": 1
    }  # fmt: skip


def test_an_open_quote_over_several_rows_is_never_dropped(workspace, read):
    (workspace / "all.csv").write_text('label,text\na,"open\nb,x\na,y\n')
    with pytest.raises(UserError, match=r"quote that opens in row 1 \(line 2\) is not closed properly up to line 4"):
        read(source="csv", path="all.csv", on_bad_rows="drop")


def test_a_label_that_train_does_not_have_is_an_error_or_dropped(workspace, read):
    (workspace / "data").mkdir()
    write_csv(workspace / "data/train.csv", ROWS[:40])
    write_csv(workspace / "data/test.csv", [*ROWS[40:], ("text", "so-so")])
    with pytest.raises(UserError, match=r"label unknown to train \(1\): test.csv row 21 \(line 42\) \(so-so\)"):
        read(source="csv", path="data")
    rows, manifest = read(source="csv", path="data", on_bad_rows="drop")
    assert rows["test"] == ROWS[40:]
    assert manifest["dropped"] == {"test": {"label unknown to train": 1}}


@pytest.mark.parametrize(
    ("lines", "data", "message"),
    [
        (["a,b", "x,y"], {}, r"data.text_column: .*all.csv has no column 'text'; it has a, b \(data.header false"),
        (["text;label", "x;y"], {}, r"no column 'text'; it has only one, 'text;label', so check data.delimiter"),
        (["text,label", "x,a"], {}, r"the data has one class \(a\) in 1 rows; need two"),
        (["text,label", "x,a", "y,b"], {}, r"data.test_fraction: found 0.1; of 2 rows it would leave none of 2 of"),
        (["t\0e\0x", "x"], {}, r"it has a first row that is not utf-8, so check data.encoding"),
        (["text,label"], {}, r"the data has no rows \(0 were dropped\)"),
        ([""], {}, r"the data has no rows"),
        (
            ["text,label", "x,a"],
            {"label_names": {1: "A", 2: "B"}},
            r"label not in data.label_names \(1\): all.csv row 1",
        ),
        (["text,label", "x,a"], {"text_column": 5}, r"data.text_column: .* has no column 5; it has text, label"),
        (["text,label", "x,a"], {"splits": {"test": "dev"}}, r"data.splits: .* data.path is one file"),
        (["text,label", "x,a"], {"encoding": "utf-16"}, r"cannot be read as utf-16 .* set data.encoding"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(workspace, read, lines, data, message):
    (workspace / "all.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=message):
        read(source="csv", path="all.csv", **data)


def test_a_file_of_another_format_is_an_error(workspace, read):
    (workspace / "all.csv").write_text("text,label\n")
    with pytest.raises(UserError, match=r"all.csv: cannot be read as Parquet"):
        read(source="parquet", path="all.csv")
    table = pa.table([["x"], ["y"], ["z"]], names=["text", "text", "label"])
    pq.write_table(table, workspace / "all.parquet")
    with pytest.raises(UserError, match=r"data.text_column: .*all.parquet has several columns 'text'"):
        read(source="parquet", path="all.parquet")
    (workspace / "all.csv.gz").write_bytes(gzip.compress(b"text,label\n" * 5000)[:40] + b"junk" * 50)
    with pytest.raises(UserError, match=r"all.csv.gz: cannot be read"):
        read(source="csv", path="all.csv.gz")
    (workspace / "all.json").write_text('\n[{"text": "x", "label": 1}]')
    with pytest.raises(UserError, match=r"all.json: contains a JSON array; expected JSON lines"):
        read(source="json", path="all.json")


def test_classes_that_splits_of_a_table_lack_are_reported_for_each_split(workspace, read, capsys):
    (workspace / "data").mkdir()
    write_csv(workspace / "data/train.csv", [(f"text {number}", "abcd"[number % 4]) for number in range(40)])
    write_csv(workspace / "data/dev.csv", [(f"dev {number}", "abc"[number % 3]) for number in range(9)])
    write_csv(workspace / "data/test.csv", [(f"test {number}", "ab"[number % 2]) for number in range(8)])
    missing = {"validation": {"d": 10}, "test": {"c": 10, "d": 10}}
    assert read(source="csv", path="data")[1]["missing_classes"] == missing
    assert "test has no rows of 2 of the classes of train: c (10 rows), d (10 rows);" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"validation has no rows of 1 .*: d \(10 rows\); test has no rows of 2"):
        read(source="csv", path="data", on_missing_class="error")


def test_labels_cannot_control_a_terminal_in_messages(workspace, read):
    (workspace / "data").mkdir()
    write_csv(workspace / "data/train.csv", [("text", "\x1b[2Ja"), ("one", "\x1b[2Ja"), ("two", "b"), ("three", "b")])
    write_csv(workspace / "data/test.csv", [("text", "\x1b[2Ja"), ("one", "\x1b[2Ja"), ("four", "b"), ("two", "b")])
    write_csv(workspace / "one.csv", [("text", "\x1b[2Ja")])
    for path, data in (
        ("data", {"validation_fraction": 0.9}), ("data", {"on_leak": "drop_from_train", "validation_fraction": 0.5}),
        ("one.csv", {}),
    ):  # fmt: skip
        with pytest.raises(UserError, match=r"(?s)\(\\x1b\[2Ja") as caught:
            read(source="csv", path=path, **data)
        assert "\x1b" not in str(caught.value)


def test_a_split_needs_a_row_for_each_class(workspace, read):
    (workspace / "data").mkdir()
    write_csv(workspace / "data/train.csv", [(f"text {number}", "abc"[number % 3]) for number in range(30)])
    write_csv(workspace / "data/test.csv", [("text", "a"), ("text", "b")])
    with pytest.raises(UserError, match=r"split 'test' has 2 rows, fewer than the 3 classes of train"):
        read(source="csv", path="data")
