"""Cleaning of raw texts."""

import html
import re
import unicodedata

# A tag starts with a letter, "/" or "!" (HTML syntax, section 13.1.2), so "a < b" and "<3" stay.
TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]*>|<![^<>]*>", re.DOTALL)


def clean(text: str, strip_html: bool) -> str:
    """Normalize Unicode (NFC) and make each run of white space one space.

    `strip_html` first replaces each tag by a space, and entities by their characters.
    """
    if strip_html:
        text = html.unescape(TAG.sub(" ", text))
    return " ".join(unicodedata.normalize("NFC", text).split())
