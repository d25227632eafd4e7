"""Cleaning of raw texts, in time that grows with their length alone, whatever is in them."""

import html
import re
import unicodedata

# A tag starts with a letter, "/" or "!" (HTML syntax, section 13.1.2), so "a < b" and "<3" stay.
TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<![^<>]*>")
TAG_OR_COMMENT = re.compile(rf"<!--.*?-->|{TAG.pattern}", re.DOTALL)
LONG_NUMBER = re.compile(r"&#([0-9]{100,})")
LAST_CHARACTER = 0x10FFFF
# Python sorts the marks (such as accents) of a character in as many steps as the square of their number.
MANY_MARKS = re.compile(r"[^\w\s\x00-\u02ff]{100,}")


def clean(text: str, strip_html: bool) -> str:
    """Normalize Unicode (NFC) and make each run of white space one space.

    `strip_html` first replaces each tag by a space, and entities by their characters.
    """
    if strip_html:
        text = html.unescape(LONG_NUMBER.sub(shorten_number, remove_tags(text)))
    return " ".join(unicodedata.normalize("NFC", MANY_MARKS.sub(sort_marks, text)).split())


def remove_tags(text: str) -> str:
    """Replace each tag and comment by a space."""
    # After the last end of a comment none can begin: a search for its end from each beginning would take forever.
    end = text.rfind("-->") + len("-->") if "-->" in text else 0
    return TAG_OR_COMMENT.sub(" ", text[:end]) + TAG.sub(" ", text[end:])


def shorten_number(match: re.Match[str]) -> str:
    """The same entity with few digits: Python refuses to read a number of more than 4,300."""
    digits = match[1].lstrip("0") or "0"
    return f"&#{digits if len(digits) < 8 else LAST_CHARACTER + 1}"


def sort_marks(match: re.Match[str]) -> str:
    """The same text with the marks of each character in the order of the normal form (Unicode Standard, 3.11, D109)."""
    letters = [part for letter in match[0] for part in unicodedata.normalize("NFD", letter)]
    starts = [place for place, letter in enumerate(letters) if not unicodedata.combining(letter)]
    pieces = [letters[start:end] for start, end in zip([0, *starts], [*starts, len(letters)], strict=True)]
    return "".join(letter for piece in pieces for letter in sorted(piece, key=unicodedata.combining))
