"""The page of a study for people: one HTML file that needs no other, and its table as CSV."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from stages.core.csv_tables import write_csv
from stages.core.files import new_file
from stages.report.rendering import render_template

MOST_ROWS = 200  # of the table on the page; the CSV has all
MOST_CHARACTERS = 300  # of a cell on the page


@dataclass(frozen=True)
class StudyPage:
    """What a study found: sentences, facts, figures (SVG elements by their captions), and a table."""

    title: str
    answer: list[str]
    facts: dict[str, str]
    figures: dict[str, str]
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    notes: list[str] = field(default_factory=list)  # how to read it
    commands: list[str] = field(default_factory=list)  # to go on with
    wide: frozenset[str] = frozenset()  # captions of the figures that need the width of the page


def write_study(folder: Path, name: str, page: StudyPage) -> list[Path]:
    """Write `<name>.html` and `<name>.csv`, and return their paths. Equal pages give equal bytes."""
    html, table = folder / f"{name}.html", folder / f"{name}.csv"
    write_csv(table, page.columns, page.rows)
    columns = list(zip(*page.rows[:MOST_ROWS], strict=True)) or [()] * len(page.columns)
    values = vars(page) | {
        "figures": {caption: Markup(figure) for caption, figure in page.figures.items()},  # not escaped
        "numeric": [is_numeric(column) for column in columns],
        "shown": list(zip(*map(format_column, columns), strict=True)),
        "table": table.name,
    }
    with new_file(html) as part:
        part.write_text(render_template("study.html", values), encoding="utf-8")
    return [html, table]


def is_numeric(column: Sequence[Any]) -> bool:
    """Whether all cells of a column are numbers or empty, so that they stand on the right."""
    return all(cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool)) for cell in column)


def format_column(column: Sequence[Any]) -> list[str]:
    """The cells of a column as the page shows them; floats with the same number of decimals, one below another.

    The largest has four digits. Where the smallest would then have none, all are written with exponents.
    """
    if not is_numeric(column) or not any(isinstance(cell, float) for cell in column):
        return [format_cell(cell) for cell in column]
    sizes = [abs(cell) for cell in column if cell and math.isfinite(cell)]
    decimals = min(max(3 - math.floor(math.log10(max(sizes, default=1))), 0), 8)
    form = ".3e" if min(sizes, default=1) < 10**-decimals else f",.{decimals}f"
    return ["" if cell is None else f"{cell:{form}}" for cell in column]


def format_cell(cell: Any) -> str:
    """A cell as the page shows it: numbers with four digits, long texts cut."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}"
    text = f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
