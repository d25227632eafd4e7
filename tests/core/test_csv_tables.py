import csv
import io
import re
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core import csv_tables
from stages.core.csv_tables import (
    CsvFormat,
    CsvWriter,
    decode,
    find_column,
    read_csv,
    read_csv_rows,
    read_lines,
    write_csv,
)
from stages.core.errors import UserError

PATH = Path("a.csv")
# All texts, those with what a CSV file uses itself more often; no lone surrogates, which no encoding can write.
TEXTS = st.text(st.sampled_from("\r\n\t ,;|'\"\0\ufeffaé") | st.characters(exclude_categories=["Cs"]), max_size=8)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(TEXTS, min_size=width, max_size=width), min_size=1, max_size=6)
)


def open_bytes(content: bytes, encoding: str = "utf-8") -> io.TextIOWrapper:
    return decode(io.BufferedReader(io.BytesIO(content)), encoding)


def read(text: str, **form):
    return list(read_csv_rows(io.StringIO(text, newline=""), CsvFormat(**form)))


def write(rows, **form):
    """The bytes of a file with these rows."""
    form, file = CsvFormat(**form), io.BytesIO()
    text = io.TextIOWrapper(file, form.encoding, newline="")
    writer = CsvWriter(text, form)
    for number, row in enumerate(rows):
        writer.write_row(row, f"a.csv row {number}")
    text.flush()
    return file.getvalue()


@given(
    TABLES,
    st.sampled_from(",;\t| a\0"),
    st.sampled_from("\"'\u00a7"),
    st.sampled_from(["utf-8", "U8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"]),
)
def test_what_is_written_is_read_back_equal(table, delimiter, quotechar, encoding):
    form = CsvFormat(encoding, False, delimiter, quotechar)
    content = write(table, **form._asdict())
    found = list(read_csv_rows(read_lines(PATH, open_bytes(content, encoding)), form))
    assert [row.error for row in found] == [None] * len(table)
    assert [row.cells for row in found] == table
    known = "utf-8-sig" if encoding == "U8" else encoding
    if not (encoding == "utf-8" and table[0][0].startswith("\ufeff")):
        text = io.StringIO(content.decode(known), newline="")
        assert list(csv.reader(text, delimiter=delimiter, quotechar=quotechar)) == table


@given(TABLES, st.sampled_from(",;\t|"))
def test_pandas_reads_what_is_written(table, delimiter):
    table = [[cell.replace("\0", "").replace("\ufeff", "") for cell in row] for row in table]  # pandas loses these two
    table = [[f"x{row[0]}", *row[1:]] for row in table]  # it drops lines of empty cells
    content = io.BytesIO(write(table, delimiter=delimiter))
    found = pd.read_csv(content, sep=delimiter, header=None, dtype=str, keep_default_na=False, encoding="utf-8")
    assert found.to_numpy().tolist() == table


@given(TABLES, st.sampled_from(",\t"))
def test_without_quotes_a_row_is_read_back_equal_or_refused_as_a_whole(table, delimiter):
    form = {"delimiter": delimiter, "quotechar": None, "header": False}
    try:
        content = write(table, **form)
    except UserError as error:
        assert re.match(r"a.csv row \d: cannot be written as csv without quotes", str(error))  # noqa: PT017
        broken = table[int(str(error)[len("a.csv row ") :].split(":")[0])]
        assert broken == [""] or any(set(cell) & {delimiter, "\r", "\n"} for cell in broken)
    else:
        assert [row.cells for row in read(content.decode("utf-8-sig"), **form)] == table


@given(TABLES)
def test_a_table_of_the_pipeline_is_read_back_equal(table):
    names = [f"{number}" for number in range(len(table[0]))]
    with tempfile.TemporaryDirectory() as folder:
        write_csv(Path(folder, "a.csv"), names, table)
        assert read_csv(Path(folder, "a.csv"), names) == table


def test_a_text_that_the_encoding_does_not_have_is_an_error_that_names_the_row():
    with pytest.raises(UserError, match=r"a.csv row 1: '好' cannot be written as latin-1; set data.encoding to one"):
        write([["é"], ["very 好"]], encoding="latin-1")


def test_a_broken_table_is_an_error(tmp_path):
    for content in ("", "a,c\n1,2\n", "a,b\n1\n", 'a,b\n1,"2\n'):
        (tmp_path / "a.csv").write_text(content)
        with pytest.raises(ValueError, match=r"it has no columns a and b|line 2 is broken"):
            read_csv(tmp_path / "a.csv", ["a", "b"])


@pytest.mark.parametrize(("header", "first"), [(True, 0), (False, 1)])
def test_rows_have_the_line_in_which_they_begin_and_a_number_after_the_header(header, first):
    rows = read('a,b\n\n"two\nlines",1\nx,2\n', header=header)
    assert [(row.line, row.last_line) for row in rows] == [(1, 1), (3, 4), (5, 5)]
    assert [row.number for row in rows] == [first, first + 1, first + 2]


def test_reading_continues_after_a_row_with_broken_quotes():
    good, broken, last = read('a\n"b"c\nd\n')
    assert (good.cells, last.cells) == (["a"], ["d"])
    assert (broken.number, broken.cells) == (1, [])
    assert "expected after" in broken.error


def test_bytes_that_cannot_be_decoded_are_written_again_as_they_were():
    content = b"\xef\xbb\xbfcaf\xe9,\xc3\xa9\n"
    (line,) = read_lines(PATH, open_bytes(content))
    assert line == "caf\udce9,é\n"
    assert line.encode("utf-8", "surrogateescape") == content.removeprefix(b"\xef\xbb\xbf")


def test_a_line_without_end_is_an_error_before_it_is_in_memory(monkeypatch):
    monkeypatch.setattr(csv_tables, "LONGEST_CELL", 10)
    with pytest.raises(UserError, match=r"a.csv: line 2 is longer than 10 characters; is it a text file"):
        list(read_lines(PATH, open_bytes(b"short\n" + b"x" * 11)))


def test_another_encoding_is_an_error():
    with pytest.raises(UserError, match=r"a.csv: cannot be read as utf-16 .* set data.encoding"):
        list(read_lines(PATH, open_bytes(b"text\n", "utf-16")))


def test_a_column_is_found_by_name_or_number():
    assert find_column(PATH, "key", "b", ["a", "b"], CsvFormat()) == 1
    assert find_column(PATH, "key", 1, ["a", "b"], CsvFormat()) == 1
    assert find_column(PATH, "key", 0, ["b", "b"], CsvFormat(header=False)) == 0


@pytest.mark.parametrize(
    ("column", "form", "message"),
    [
        ("c", {}, "key: a.csv has no column 'c'; it has a, b, b (data.header false: the first row is no header)."),
        (3, {"header": False}, "key: a.csv has no column 3; it has columns 0 to 2."),
        (-1, {}, "key: a.csv has no column -1; it has a, b, b (data.header false: the first row is no header)."),
        ("b", {}, "key: a.csv has several columns 'b'; give the number of one, from 0."),
        ("a", {"header": False}, "key: found 'a'; with data.header false columns have numbers, 0 to 2."),
    ],
)
def test_the_error_about_a_column_names_what_there_is(column, form, message):
    with pytest.raises(UserError, match=re.escape(message)):
        find_column(PATH, "key", column, ["a", "b", "b"], CsvFormat(**form))
