"""Fills the templates of the report and of the model card, and writes their values as people read them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from stages.core.errors import escape_control

TEMPLATES = Path(__file__).parent / "templates"


def render_template(name: str, values: dict[str, Any]) -> str:
    """The text of a template with these values, which are escaped in HTML; an error for a value that is missing."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "code": format_code,
        "integer": format_integer,
        "interval": format_interval,
        "param": format_param,
        "percent": format_percent,
        "seconds": format_seconds,
    }
    return environment.get_template(name).render(values)


def format_code(value: Any) -> str:
    """A value as code in Markdown: without markup or mentions of people, and it cannot end the cell of a table."""
    text = escape_control(" ".join(str(value).split())).replace("`", "'").replace("|", "\\|")
    return f"`{text or ' '}`"


def format_integer(value: int) -> str:
    """`1,234`"""
    return f"{value:,}"


def format_interval(ends: Sequence[float] | None) -> str:
    """`0.912–0.934`; empty for none, and for NaN."""
    return "" if ends is None or ends[0] != ends[0] else f"{ends[0]:.3f}–{ends[1]:.3f}"


def format_param(value: Any) -> Any:
    """A value as params.yaml writes it: `null`, `true` and `false`; others as they are."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else value


def format_percent(share: float) -> str:
    """`12.5 %` for 0.125"""
    return f"{100 * share:.1f} %"


def format_seconds(value: float) -> str:
    """`1.3 s`, `1 min 1 s` or `2 h 1 min`."""
    if round(value) < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def name_source(source: dict[str, Any]) -> str:
    """The data's name as it may be published: a URL without password and query, only the last part of a local path."""
    path = source["path"]
    if path is None or source["source"] == "hub":
        return path or source["source"]
    if "://" in path:
        url = urlsplit(path)
        return f"{url.scheme}://{url.hostname}{url.path}"
    return Path(path).name
