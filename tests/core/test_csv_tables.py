import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core import csv_tables
from stages.core.csv_tables import CsvFormat, decode, find_column, read_csv_rows, read_lines
from stages.core.errors import UserError

PATH = Path("a.csv")


def open_bytes(content: bytes, encoding: str = "utf-8") -> io.TextIOWrapper:
    return decode(io.BufferedReader(io.BytesIO(content)), encoding)


def read(text: str, **form):
    return list(read_csv_rows(io.StringIO(text, newline=""), CsvFormat(**form)))


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2), min_size=1))
def test_rows_are_read_as_they_were_written(table):
    file = io.StringIO(newline="")
    csv.writer(file).writerows(table)
    assert [row.cells for row in read(file.getvalue())] == table


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
