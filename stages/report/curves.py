"""The curves of a training: what they show, and how they are drawn, as one PNG and as SVG for the report."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from stages.core.csv_tables import read_numbers
from stages.core.errors import UserError
from stages.report.figures import BLUE, GREEN, ORANGE, render_svg, write_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Series(NamedTuple):
    """One line of a chart: a column of a table of the history, by step."""

    label: str
    table: Literal["training", "validation"]
    column: str
    color: str
    style: str  # as Matplotlib writes markers and lines: "o-" is dots with a line


class Chart(NamedTuple):
    title: str
    series: tuple[Series, ...]


CHARTS = {
    "loss": Chart(
        "Loss by step",
        (
            Series("training", "training", "loss", BLUE, "-"),
            Series("validation", "validation", "loss", ORANGE, "o-"),
        ),
    ),
    "validation": Chart(
        "Validation by step",
        (
            Series("accuracy", "validation", "accuracy", BLUE, "o-"),
            Series("F1, macro", "validation", "f1_macro", GREEN, "x--"),
            Series("F1, micro", "validation", "f1_micro", ORANGE, "s-"),  # where a text may have several labels
        ),
    ),
}


@dataclass(frozen=True)
class History:
    """The tables that `train` wrote: a row for each logged step, and for each validation, as columns by name."""

    training: list[dict[str, float]]
    validation: list[dict[str, float]]

    @classmethod
    def read(cls, training: Path, validation: Path) -> "History":
        """UserError when a table is missing or broken, or when no validation is marked as the best."""
        history = cls(read_numbers(training), read_numbers(validation))
        if not any(row.get("best") for row in history.validation):
            raise UserError(f"{validation}: no row is marked as best; run `dvc repro train`, which makes it.")
        return history

    @property
    def best_validation(self) -> dict[str, float]:
        """The validation of the checkpoint that was chosen."""
        return next(row for row in self.validation if row["best"])


def draw_curves(history: History) -> dict[str, str]:
    """The charts as SVG, by their names."""
    return {name: render_svg(name, partial(plot_chart, chart=chart, history=history)) for name, chart in CHARTS.items()}


def write_curves(history: History, path: Path) -> None:
    """Write all charts beside each other as one PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(CHARTS), 3.5), layout="constrained")
    for axes, chart in zip(figure.subplots(1, len(CHARTS)), CHARTS.values(), strict=True):
        plot_chart(axes, chart, history)
        axes.set_title(chart.title)
    write_png(figure, path)


def plot_chart(axes: "Axes", chart: Chart, history: History) -> None:
    """Draw the series that have points."""
    for series in chart.series:
        rows = getattr(history, series.table)
        if not rows or series.column not in rows[0]:  # training has none when it ended before train.logging_steps
            continue
        steps = [row["step"] for row in rows]
        values = [row[series.column] for row in rows]
        axes.plot(steps, values, series.style, label=series.label, color=series.color)
    axes.set_xlabel("step")
    axes.legend()
    axes.grid(alpha=0.2)
