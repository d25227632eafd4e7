import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from stages.core.errors import UserError
from stages.inference.csv_file import Layout
from stages.inference.output_columns import Answer, OutputColumns
from stages.inference.parquet_files import ParquetTask
from stages.inference.parquet_folders import (
    count_rows,
    describe_result,
    find_lock,
    find_unlabelled,
    label_pairs,
    pair_files,
)

TASK = ParquetTask(Layout(), OutputColumns(["a", "b"]), "", {"model": "one"})
NAMES = ["1.parquet", "2.parquet", "lang=de/1.parquet"]


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": [str(path), "second"]}), path)


@pytest.fixture
def folders(tmp_path):
    """A folder with three files of two rows each, and one that does not exist."""
    for name in NAMES:
        write(tmp_path / "in" / name)
    return tmp_path / "in", tmp_path / "out"


@pytest.fixture
def label(folders):
    """Label what is left; return the texts that were labelled. `before_text` is called before each batch."""

    def label(before_text=lambda texts: None, task=TASK):
        texts_seen = []

        def label_texts(texts, locations):
            before_text(texts)
            texts_seen.extend(texts)
            return [task.columns.make_values(Answer("a", 0.75, {"a": 0.75, "b": 0.25}, False, False)) for _ in texts]

        pairs = pair_files(*folders)
        left = find_unlabelled(pairs, task)
        rows = count_rows(left, task)
        done = label_pairs(rows, label_texts, task)
        label.result = describe_result(done, pairs, len(texts_seen), folders[1])
        return [text.removeprefix(f"{folders[0]}/") for text in texts_seen if text != "second"]

    return label


def list_files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_each_file_of_a_folder_keeps_its_place(folders, label):
    for name in ("_SUCCESS/x.parquet", ".hidden.parquet", "sub/_part.parquet", "notes.txt"):
        write(folders[0] / name)
    assert label() == NAMES
    assert list_files(folders[1]) == NAMES
    assert label.result == f"labelled 6 rows of 3 files into {folders[1]}"


def test_what_is_labelled_is_not_labelled_again(folders, label):
    label()
    (folders[1] / NAMES[1]).unlink()
    assert label() == [NAMES[1]]
    assert label() == []


def test_after_an_interruption_the_files_that_are_missing_are_labelled(folders, label):
    def stop(texts):
        if texts[0].endswith(NAMES[1]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(stop)
    (folders[1] / ".2.parquet.123.part").touch()  # of a process that was killed
    (folders[1] / ".2.parquet.1.parquet.123.part").touch()  # of another file
    assert label() == NAMES[1:]
    (folders[1] / ".2.parquet.1.parquet.123.part").unlink()
    assert list_files(folders[1]) == NAMES


def test_a_file_that_another_process_labels_is_left_to_it(folders, label):
    lock = find_lock(folders[1] / NAMES[0])
    lock.parent.mkdir()
    with FileLock(lock):
        assert label() == NAMES[1:]
        assert label.result.endswith("out; other processes are still labelling 1 of 3 files")
    assert label() == NAMES[:1]


def test_a_file_whose_process_was_killed_is_labelled_at_the_end(folders, label):
    lock = FileLock(find_lock(folders[1] / NAMES[0]))
    folders[1].mkdir()
    lock.acquire()
    assert label(lambda texts: lock.release()) == [*NAMES[1:], NAMES[0]]
    assert list_files(folders[1]) == NAMES


def test_a_file_that_another_process_has_labelled_in_the_meantime_is_not_labelled_again(folders, label, tmp_path):
    label()
    (folders[1] / NAMES[0]).unlink()
    (folders[1] / NAMES[1]).rename(tmp_path / "labelled")
    assert label(
        lambda texts: (tmp_path / "labelled").exists() and (tmp_path / "labelled").rename(folders[1] / NAMES[1])
    ) == [NAMES[0]]
    assert list_files(folders[1]) == NAMES


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"maker": {"model": "two"}},
            r"out/1.parquet: was labelled with model 'one', which is 'two' now; give another",
        ),
        ({"prefix": "my_"}, r"out/1.parquet: was labelled with added_columns \['label', .*\], which is \['my_label'"),
    ],
)
def test_answers_of_another_model_or_other_options_are_not_mixed(label, changes, message):
    label()
    with pytest.raises(UserError, match=message):
        label(task=TASK._replace(**changes))


def test_an_input_that_has_changed_is_an_error(folders, label):
    label()
    pq.write_table(pa.table({"text": ["another"]}), folders[0] / NAMES[0])
    with pytest.raises(UserError, match=r"out/1.parquet: was labelled with input_bytes \d+, which is \d+ now"):
        label()


def test_a_place_for_the_output_that_does_not_fit_is_an_error(folders, tmp_path):
    folder, out = folders
    (tmp_path / "empty").mkdir()
    cases = [
        (folder, folder, r"--out: .*in is --parquet itself or in it; give another place"),
        (folder, folder / "labelled", r"--out: .*in/labelled is --parquet itself or in it"),
        (folder, folder / NAMES[0], r"--out: .*1.parquet is a file, and .*in is a folder; give a folder"),
        (folder / NAMES[0], folder, r"--out: .*in is a folder, and .*1.parquet is a file; give a file"),
        (tmp_path / "empty", out, r"--parquet: .*empty has no Parquet files"),
    ]
    for path, out, message in cases:
        with pytest.raises(UserError, match=message):
            pair_files(path, out)


def test_a_file_that_does_not_fit_is_an_error_before_anything_is_labelled(folders, label):
    pq.write_table(pa.table({"body": ["x"]}), folders[0] / "z.parquet")
    with pytest.raises(UserError, match=r"in/z.parquet has no column 'text'; it has body"):
        label()
    assert not folders[1].exists()
