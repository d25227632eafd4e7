import pytest
from jinja2 import UndefinedError

from stages.report.rendering import (
    format_code,
    format_integer,
    format_interval,
    format_param,
    format_percent,
    format_seconds,
    name_source,
    render_template,
)


def test_a_template_without_one_of_its_values_is_an_error():
    with pytest.raises(UndefinedError, match="is undefined"):
        render_template("report.md", {})


def test_code_in_markdown_is_one_line_that_cannot_end_early():
    assert format_code("a\n|`b`") == "`a \\|'b'`"
    assert format_code("") == "` `"
    assert format_code("\x1b[2Ja\0") == "`\\x1b[2Ja\\x00`"


def test_params_are_written_as_in_params_yaml():
    assert [format_param(value) for value in (None, True, False)] == ["null", "true", "false"]
    assert [format_param(value) for value in (1, 0, "none")] == [1, 0, "none"]


def test_seconds_are_written_as_people_write_them():
    expected = ["1.3 s", "1 min 1 s", "1 min 0 s", "2 h 1 min"]
    assert [format_seconds(value) for value in (1.26, 61.2, 59.9, 7265)] == expected


def test_numbers_are_written_for_people():
    assert (format_integer(12345), format_percent(0.1254)) == ("12,345", "12.5 %")
    assert format_interval([0.91234, 1]) == "0.912–1.000"
    assert format_interval(None) == format_interval([float("nan")] * 2) == ""


def test_the_name_of_a_source_has_nothing_private():
    address = "https://me:secret@example.org/a.csv?token=secret"
    assert name_source({"source": "csv", "path": address}) == "https://example.org/a.csv"
    assert name_source({"source": "csv", "path": "/home/me/reviews.csv"}) == "reviews.csv"
    assert name_source({"source": "hub", "path": "someone/reviews"}) == "someone/reviews"
    assert name_source({"source": "demo", "path": None}) == "demo"
