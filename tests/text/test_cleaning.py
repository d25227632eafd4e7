import html
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.project import ROOT

from stages.text.cleaning import clean

PIECES = ["<!--", "-->", "<!-->", "<", ">", "!", "</", "<b>", "<a x=", "&#", "&#x", "65", "0" * 120, "&lt", ";", "&"]
MARKS = ["\u0301", "\u0327", "\u0344", "\u093c", "\u200d", "。"]
LETTERS = st.sampled_from([*PIECES, *MARKS, "e", "\u1100\u1161", " ", "\n"]) | st.characters(exclude_categories=["Cs"])
TEXTS = st.lists(LETTERS)


def define_cleaning(text: str) -> str:
    """What cleaning means, in the fewest words; it takes forever for some texts, and fails for long numbers."""
    tag = re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]*>|<![^<>]*>", re.DOTALL)
    return " ".join(unicodedata.normalize("NFC", html.unescape(tag.sub(" ", text))).split())


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
        ("<!-- open <b>seen</b>", "<!-- open seen"),
        ("&#" + "0" * 9000 + "65;", "A"),
        ("&#" + "1" * 9000 + ";!", "\ufffd!"),
    ],
)
def test_html_becomes_text(text, cleaned):
    assert clean(text, strip_html=True) == cleaned


def test_html_can_be_kept():
    assert clean("a<br />b &amp;  c", strip_html=False) == "a<br />b &amp; c"


@given(TEXTS.map("".join))
def test_every_text_is_cleaned_as_defined(text):
    assert clean(text, strip_html=True) == define_cleaning(text)


@given(st.lists(st.sampled_from([*MARKS, "e"]), min_size=3, max_size=8), st.integers(20, 60))
def test_a_text_with_very_many_marks_is_cleaned_as_defined(marks, times):
    text = "e" + "".join(mark * times for mark in marks)
    assert clean(text, strip_html=True) == define_cleaning(text)


@given(TEXTS.map("".join))
def test_a_cleaned_text_without_html_stays_as_it_is(text):
    cleaned = clean(text, strip_html=False)
    assert clean(cleaned, strip_html=False) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "'<!--' * n", "'-->' * n + '<!--' * n", "'<a ' * n", "'&#' + '1' * 4 * n", "('&#' + '1' * 5000) * (n // 1000)",
        "'&' * 4 * n", "'&lt' * n", "'a' + '\\u0301' * n + '\\u0327' * n", "'\\u0344' * n", "'。' * n",
    ],
)  # fmt: skip
def test_no_text_takes_longer_than_its_length_demands(text):
    """A million characters or more, which took half an hour where the time grew with the square of the length."""
    code = f"from stages.text.cleaning import clean; n = 10**6; clean({text}, True)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=100)
