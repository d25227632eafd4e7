import csv
import os
import re
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

from stages.core.errors import UserError
from stages.inference.csv_file import Layout, check_labels, open_table, write_table

LABELS = ["a\rb", 'so "so", fine', "line\r\nend\n", "x\0y", " padded\t", "好"]


def label(path, out, labels=LABELS, prefix="", **layout):
    """Add a label to each row, in turn, as `predict --csv` does."""
    number = -1

    def answer(texts, locations):
        nonlocal number
        rows = []
        for _ in texts:
            number += 1
            rows.append([labels[number % len(labels)], "0.9000"])
        return rows

    with open_table(path, Layout(**layout)) as table:
        check_labels(table, labels)
        write_table(table, answer, [f"{prefix}label", f"{prefix}probability"], out)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "in.csv"
    with path.open("w", newline="") as file:
        file.write('text,note\n"a\rb","1\r\n2"\n')
        file.writelines(f'text {number},"""x"""\n' for number in range(29))
    return path


def test_cells_and_labels_of_any_text_are_read_back_equal(path, tmp_path):
    label(path, tmp_path / "out.csv", prefix="my\r")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["text", "note", "my\rlabel", "my\rprobability"]
    assert [row[:2] for row in rows] == [["a\rb", "1\r\n2"], *([f"text {number}", '"x"'] for number in range(29))]
    assert [row[2] for row in rows] == [LABELS[number % len(LABELS)] for number in range(30)]
    with open_table(tmp_path / "out.csv", Layout()) as table:
        assert [row.cells for row in table.rows] == rows


def test_pandas_reads_the_same_number_of_rows(path, tmp_path):
    label(path, tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv", keep_default_na=False)["text"].tolist()[:2] == ["a\rb", "text 0"]


def test_the_output_on_stdout_is_the_same_as_in_a_file(path, tmp_path, capfdbinary, monkeypatch):
    monkeypatch.setattr(sys, "stdout", open(1, "w", closefd=False))  # noqa: SIM115 - pytest's has no buffer
    label(path, None)
    sys.stdout.flush()
    label(path, tmp_path / "out.csv")
    assert capfdbinary.readouterr().out == (tmp_path / "out.csv").read_bytes()


def test_the_target_of_a_link_is_replaced_and_the_link_stays(path, tmp_path):
    (tmp_path / "target.csv").write_text("old")
    (tmp_path / "target.csv").chmod(0o600)
    for name, target in (("link", "target.csv"), ("twice", "link"), ("dangling", "new.csv")):
        (tmp_path / name).symlink_to(tmp_path / target)
        label(path, tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_text().startswith("text,note,label,probability\n")
    assert (tmp_path / "target.csv").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dangling", "in.csv", "link", "new.csv", "target.csv", "twice"
    ]  # fmt: skip


def test_a_link_keeps_the_old_file_when_a_row_is_broken(tmp_path):
    (tmp_path / "in.csv").write_text("text\nfine\nfine,2\n")
    (tmp_path / "target.csv").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target.csv")
    with pytest.raises(UserError, match="has 2 columns, expected 1"):
        label(tmp_path / "in.csv", tmp_path / "link")
    assert (tmp_path / "target.csv").read_text() == "old"


def test_a_pipe_is_written_to(path, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()), daemon=True)
    reader.start()
    label(path, tmp_path / "pipe")
    reader.join(60)
    label(path, tmp_path / "out.csv")
    assert found == [(tmp_path / "out.csv").read_bytes()]
    assert (tmp_path / "pipe").is_fifo()


def test_a_device_stays_a_device(path, monkeypatch):
    monkeypatch.setattr("stages.inference.csv_file.new_file", None)  # else a defect would replace it, as root
    label(path, Path("/dev/null"))
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("labels", "layout", "message"),
    [
        (["fine", "so, so"], {"quotechar": None}, "the label 'so, so' of the model: cannot be written as csv without"),
        (["two\nlines"], {"quotechar": None}, r"the label 'two\nlines' of the model: cannot be written as csv"),
        (
            ["fine", "好"],
            {"encoding": "latin-1"},
            "the label '好' of the model: '好' cannot be written as latin-1",
        ),
    ],
)
def test_a_label_that_the_format_cannot_hold_is_an_error_before_anything_is_written(tmp_path, labels, layout, message):
    (tmp_path / "in.csv").write_text("text\nfine\n")
    with pytest.raises(UserError, match=re.escape(f"in.csv: {message}")):
        label(tmp_path / "in.csv", tmp_path / "out.csv", labels, **layout)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_without_quotes_other_texts_are_kept_as_they_are(tmp_path):
    (tmp_path / "in.csv").write_text('text\n"half open\n')
    label(tmp_path / "in.csv", tmp_path / "out.csv", ["'so'"], quotechar=None)
    assert (tmp_path / "out.csv").read_text() == "text,label,probability\n\"half open,'so',0.9000\n"


def test_a_prefix_that_the_format_cannot_hold_is_an_error(tmp_path):
    (tmp_path / "in.csv").write_text("text\nfine\n")
    with pytest.raises(UserError, match=r"in.csv line 1: cannot be written as csv without quotes"):
        label(tmp_path / "in.csv", tmp_path / "out.csv", ["a"], prefix="a,b", quotechar=None)
