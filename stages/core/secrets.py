"""Hides the secrets of URLs in texts that are shown or stored."""

import io
import re
import sys
from typing import Any, TextIO

HIDDEN = "***"
# What follows an @ that no host follows is still the password. At most 300 characters, so that no text takes long.
REST = r"(?:(?!\w|\[[\da-fA-F:])[^\n@]{0,300}@(?:[^\s/?#]+@)?)*"
# The user and password of a URL, up to the last @ before its path.
USER = re.compile(r"(?<=://)[^\s/?#]+@" + REST)
# A password with a character that should have been written as %2F or %20: SQLAlchemy accepts that, and messages about
# wrong URLs repeat it. On the web `host:80/` is a host, and an @ after it belongs to the path.
ODD_PASSWORD = re.compile(
    r"(?<![\w+.-])(?!https?://[^\s/?#@:\[]*:\d+(?![\w%]))([\w+.-]{1,40}://)"
    r"[^\s/?#@:\[]*:[^\s@][^\n@]{0,300}@(?:[^\s/?#]+@)?" + REST,
    re.ASCII,
)
END = "\"'`)]}>,.;:"  # what may follow a URL in a sentence


def redact(text: str) -> str:
    """The text with `***` for user and password, and for the values of the query, of each URL in it.

    Scheme, host, path and the names of the query stay readable. Redact a value before it becomes part of HTML or JSON:
    what stands between a query and the next space is hidden too.
    """
    if "/" not in text:
        return text
    text = USER.sub(f"{HIDDEN}@", text)
    text = ODD_PASSWORD.sub(rf"\1{HIDDEN}@", text)
    return re.sub(r"\S+", hide_query, text)


def hide_query(match: re.Match[str]) -> str:
    """Hide the values after `?`, also where a path stands alone, and those after the `#` of a URL."""
    url = match[0].rstrip(END)
    path, mark, query = url.partition("?")
    if not mark or "/" not in path:
        path, mark, query = url, "", ""
    address, sign, fragment = path.partition("#")
    if "://" in address and "=" in fragment:
        path = f"{address}{sign}{hide_values(fragment)}"
    return f"{path}{mark}{hide_values(query)}{match[0][len(url) :]}"


def hide_values(query: str) -> str:
    """`a=1&b=2` as `a=***&b=***`; a part without a value may be the secret itself."""
    return "&".join(hide_value(part) for part in query.split("&"))


def hide_value(part: str) -> str:
    name, _, value = part.partition("=")
    if value.strip("="):  # base64 may end in =
        return f"{name}={HIDDEN}"
    return HIDDEN if name else part


def redact_all(value: Any) -> Any:
    """A value of JSON with all of its texts redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_all(one) for key, one in value.items()}
    return [redact_all(one) for one in value] if isinstance(value, list | tuple) else value


class RedactedStream(io.TextIOBase):
    """A stream that hides secrets in what is written to another one, such as messages and tracebacks of libraries."""

    def __init__(self, stream: TextIO):
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(redact(text))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()


def redact_output() -> None:
    """Hide secrets in all that this process prints from now on: libraries and tracebacks show addresses too."""
    sys.stdout, sys.stderr = RedactedStream(sys.stdout), RedactedStream(sys.stderr)
