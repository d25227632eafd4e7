import functools
import hashlib
import http.server
import json
import tarfile
import threading

import pyarrow.parquet as pq
import pytest

from stages.lib.errors import UserError
from stages.lib.sources import Corpus, link_source, read_source, write_raw


@pytest.fixture
def reviews(workspace):
    """A folder of 20 train and 10 test texts a label, with things beside that are no texts."""
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


def read(params, **data):
    changes = {"data.source": "folder", "data.path": "corpus"} | {f"data.{key}": value for key, value in data.items()}
    return read_source(params(changes).data, seed=1)


def test_a_folder_gives_texts_labels_and_a_validation_split(reviews, params):
    corpus = read(params, validation_fraction=0.2)
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {"train": 32, "validation": 8, "test": 20}
    assert ("test pos 3: déjà vu", "pos") in corpus.splits["test"]
    assert not set(corpus.splits["train"]) & set(corpus.splits["validation"])


def test_other_entries_are_ignored_and_counted(reviews, params):
    assert read(params).ignored == {"train/unsup": 3, "README": 1}


def test_a_validation_split_of_the_source_is_used(reviews, params):
    (reviews / "train").rename(reviews / "validation")
    for label in ("neg", "pos"):
        (reviews / "train" / label).mkdir(parents=True)
        (reviews / "train" / label / "1.txt").write_text(f"only {label}")
    assert len(read(params).splits["validation"]) == 40


@pytest.mark.parametrize("enclosing", ["", "aclImdb/"])
def test_an_archive_gives_the_same_bytes_as_its_folder(reviews, params, tmp_path, enclosing):
    with tarfile.open(tmp_path / "corpus.tar.gz", "w:gz") as archive:
        for path in sorted(reviews.rglob("*"), reverse=True):
            archive.add(path, enclosing + str(path.relative_to(reviews)), recursive=False)
    for name, path in (("a", "corpus"), ("b", "corpus.tar.gz")):
        (tmp_path / name).mkdir()
        data = params({"data.source": "folder", "data.path": path}).data
        write_raw(read_source(data, 1), data, tmp_path / name)
    for split in ("train", "validation", "test"):
        assert (tmp_path / f"a/{split}.parquet").read_bytes() == (tmp_path / f"b/{split}.parquet").read_bytes()


def test_samples_are_stratified_and_drawn_with_the_seed(reviews, params):
    data = params({"data.source": "folder", "data.path": "corpus", "data.max_train_samples": 10}).data
    one, same, other = (read_source(data, seed) for seed in (1, 1, 2))
    assert len(one.splits["train"]) + len(one.splits["validation"]) == 10
    assert one.splits == same.splits != other.splits
    assert len(read(params, max_test_samples=6).splits["test"]) == 6


def test_a_url_is_fetched_once_when_a_checksum_is_given(reviews, params, tmp_path):
    with tarfile.open(tmp_path / "corpus.tar.gz", "w:gz") as archive:
        archive.add(reviews, "corpus")
    checksum = hashlib.sha256((tmp_path / "corpus.tar.gz").read_bytes()).hexdigest()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/corpus.tar.gz"
        assert len(read(params, path=url, sha256=checksum).splits["test"]) == 20
        with pytest.raises(UserError, match=r"data.sha256: .* its SHA-256 is .*, expected 0000"):
            read(params, path=url, sha256="0" * 64)
        with pytest.raises(UserError, match=r"data.path: .*/none.tar.gz cannot be fetched \(404"):
            read(params, path=url.replace("corpus.", "none."))
        server.shutdown()
    assert len(read(params, path=url, sha256=checksum).splits["test"]) == 20
    with pytest.raises(UserError, match="cannot be fetched"):
        read(params, path=url)


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


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_test_label, r"split 'test' has labels that train lacks: great"),
        (remove_a_class, r"split 'train' has one class \(neg\) in 20 rows; need two"),
        (remove_a_class_of_test, r"split 'test' has one class \(neg\) in 10 rows; need two"),
        (add_a_data_set, r"holds several data sets \(\., more\); give the path of one"),
        (leave_one_row, r"data.validation_fraction: found 0.1; of 41 training rows .* none of class rare"),
        (add_a_dangling_link, r"train/pos/x.txt: neither a file nor a folder"),
        (remove_test, r"no texts for the split 'test'; expected test/<label>/\*.txt, found .*tests"),
        (break_encoding, r"train/pos/7.txt is not UTF-8 \(byte 0xe9 at 3\)"),
    ],
)
def test_a_fault_of_the_data_is_told(reviews, params, damage, message):
    damage(reviews)
    with pytest.raises(UserError, match=message):
        read(params)


@pytest.mark.parametrize("key", ["max_train_samples", "max_test_samples"])
def test_fewer_samples_than_classes_are_refused(reviews, params, key):
    with pytest.raises(UserError, match=rf"data.{key}: found 1; the data has 2 classes"):
        read(params, **{key: 1})


def test_hidden_folders_are_no_labels(reviews, params):
    for split in ("train", "test"):
        (reviews / split / ".checkpoints").mkdir()
        (reviews / split / ".checkpoints/1.txt").write_text("x")
    assert {label for _, label in read(params).splits["train"]} == {"neg", "pos"}


def test_a_missing_path_and_a_wrong_checksum_are_told(reviews, params, tmp_path):
    with pytest.raises(UserError, match=r"data.path: nowhere does not exist \(looked at .*/nowhere\)"):
        read(params, path="nowhere")
    with pytest.raises(UserError, match=r"data.sha256: given, but data.path is a folder"):
        read(params, sha256="0" * 64)
    with tarfile.open(tmp_path / "corpus.tar.gz", "w:gz") as archive:
        archive.add(reviews, "corpus")
    with pytest.raises(UserError, match=r"corpus.tar.gz: its SHA-256 is .*, expected 0000"):
        read(params, path="corpus.tar.gz", sha256="0" * 64)


def test_a_local_source_is_linked_for_dvc(reviews, params, tmp_path):
    link_source(params({"data.source": "folder", "data.path": "corpus"}).data, tmp_path / "data/source")
    assert (tmp_path / "data/source/folder").resolve() == reviews
    link_source(params({"data.source": "folder", "data.path": "http://x/y.zip"}).data, tmp_path / "data/source")
    assert (tmp_path / "data/source/folder").read_text() == "http://x/y.zip\n"
    assert reviews.is_dir()


def test_raw_data_is_parquet_with_a_manifest(params, tmp_path):
    rows = [("good", "pos"), ("bad", "neg"), ("fine", "pos")]
    write_raw(Corpus({"train": rows, "validation": rows, "test": rows[:2]}), params().data, tmp_path)
    assert pq.read_table(tmp_path / "train.parquet").to_pylist()[0] == {"text": "good", "label": "pos"}
    manifest = json.loads((tmp_path / "dataset.json").read_text())
    assert manifest["labels"] == ["neg", "pos"]
    assert manifest["splits"]["train"]["classes"] == {"neg": 1, "pos": 2}
    assert manifest["splits"]["test"]["sha256"] == hashlib.sha256((tmp_path / "test.parquet").read_bytes()).hexdigest()
