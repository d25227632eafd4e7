import pytest

from stages.text.cleaning import clean


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("one<br /><br/>two", "one two"),
        ('<a href="x">Tom &amp; Jerry</a>', "Tom & Jerry"),
        ("<!-- a\nnote -->seen", "seen"),
        ("a < b and c > d, I <3 it", "a < b and c > d, I <3 it"),
        ("  tabs\tand\n\nlines\u00a0", "tabs and lines"),
        ("cafe\u0301", "café"),
        ("中文，很好", "中文，很好"),
        ("<br />", ""),
    ],
)
def test_html_becomes_text(text, cleaned):
    assert clean(text, strip_html=True) == cleaned


def test_html_can_be_kept():
    assert clean("a<br />b &amp;  c", strip_html=False) == "a<br />b &amp; c"
