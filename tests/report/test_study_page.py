"""The page of a study and its table, also for hostile texts."""

import csv
from html.parser import HTMLParser

import pytest

from stages.core.csv_tables import read_csv
from stages.report.study_page import MOST_CHARACTERS, MOST_ROWS, StudyPage, format_column, write_study

HOSTILE = '<script>alert("1")</script>, "好"\n</td>{{ 7 * 7 }}'


class Page(HTMLParser):
    """The tags of a page, its text, and the cells of its table."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.cells, self.classes = [], "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "td":
            self.cells.append("")
            self.classes.append(dict(attrs).get("class"))

    def handle_data(self, data):
        self.text += data
        if self.cells:
            self.cells[-1] += data


def write(folder, columns=("row", "text"), rows=((1, "a text"),), **parts):
    html, table = write_study(
        folder, "study", StudyPage("A study", ["It is so."], {}, {}, columns, list(rows), **parts)
    )
    return Page(html.read_text()), table


def test_texts_in_cells_facts_and_titles_are_text(tmp_path):
    page = StudyPage(HOSTILE, [HOSTILE], {HOSTILE: HOSTILE}, {HOSTILE: "<svg></svg>"}, (HOSTILE,), [(HOSTILE,)])
    html, table = write_study(tmp_path, "study", page)
    shown = Page(html.read_text())
    assert "script" not in shown.tags
    assert "svg" in shown.tags
    assert shown.text.count(HOSTILE) == 8  # title, heading, answer, caption, column, cell, fact and its name
    assert read_csv(table, [HOSTILE]) == [[HOSTILE]]


def test_the_page_has_the_first_rows_and_names_the_table_that_has_all(tmp_path):
    page, table = write(tmp_path, rows=[(number, f"text {number}") for number in range(1000)])
    assert page.tags.count("td") == 2 * MOST_ROWS
    assert f"The first {MOST_ROWS} of 1,000 rows; study.csv has all." in page.text
    assert read_csv(table, ["row", "text"]) == [[str(number), f"text {number}"] for number in range(1000)]


def test_a_page_with_all_rows_does_not_speak_of_the_table(tmp_path):
    assert "has all" not in write(tmp_path)[0].text


@pytest.mark.parametrize("columns", [("row", "text"), ()])
def test_a_study_without_rows_has_a_page(tmp_path, columns):
    page, table = write(tmp_path, columns, rows=[])
    assert page.tags.count("th") == len(columns)
    assert next(csv.reader(table.open())) == list(columns)


def test_long_texts_are_cut_on_the_page_and_not_in_the_table(tmp_path):
    page, table = write(tmp_path, rows=[(1, "long " * 500)])
    assert page.cells[1].startswith("long " * (MOST_CHARACTERS // 5) + "…")
    assert "long " * (MOST_CHARACTERS // 5 + 1) not in page.text
    assert read_csv(table, ["text"]) == [["long " * 500]]


def test_equal_studies_give_equal_bytes(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    pages = []
    for folder in folders:
        folder.mkdir()
        _, table = write(folder, rows=[(1, 0.5), (2, None)], notes=["A note."], commands=["dvc repro"])
        pages.append((table.read_bytes(), table.with_suffix(".html").read_bytes()))
    assert pages[0] == pages[1]


def test_numbers_stand_on_the_right_and_texts_on_the_left(tmp_path):
    page, table = write(tmp_path, ("a", "b", "c", "d"), [(1234, 0.5, True, "x" * 50), (None, 2, False, "y")])
    assert page.classes == ["number", "number", None, "long", "number", "number", None, None]
    assert [cell.strip() for cell in page.cells[:7]] == ["1,234", "0.500", "True", "x" * 50, "", "2.000", "False"]
    assert read_csv(table, ["b"]) == [["0.5"], ["2"]]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([0.89, 0.081749, None], ["0.8900", "0.0817", ""]),
        ([12.3456, 3.0], ["12.35", "3.00"]),
        ([12345.6, 1], ["12,346", "1"]),
        ([1e-5, 0.5], ["1.000e-05", "5.000e-01"]),
        ([0.0, -0.25], ["0.0000", "-0.2500"]),
        ([0.0], ["0.000"]),
        ([float("nan"), 0.5, float("inf")], ["nan", "0.5000", "inf"]),
        ([1000, None], ["1,000", ""]),
        ([0.123456, "auto", True], ["0.1235", "auto", "True"]),
    ],
)
def test_floats_of_a_column_stand_one_below_another(column, expected):
    assert format_column(column) == expected
