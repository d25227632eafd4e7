"""Pictures inside the report: SVG whose lines and letters have the colours of the page, light or dark."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.csv_tables import read_numbers
from stages.report.curves import points

INK = "#010203"  # what the page replaces by its own colour of text
BLUE, ORANGE, GREEN = "#3b8bd9", "#e0812b", "#3aa76d"  # read well on white and on black
STYLE = {
    "svg.fonttype": "none",  # letters stay text, in the fonts of the page
    "font.size": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": INK,
    "grid.alpha": 0.2,
    "grid.color": INK,
    "legend.framealpha": 0,
    "legend.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def draw_loss(training: Path, validation: Path) -> str:
    """Curves of the loss by step; empty without points."""
    train, valid = read_numbers(training), read_numbers(validation)
    curves = [("training", points(train, "loss"), BLUE, "-"), ("validation", points(valid, "loss"), ORANGE, "o-")]
    return draw_lines("loss", curves)


def draw_validation(validation: Path) -> str:
    """Curves of accuracy and F1 on validation by step; empty without points."""
    valid = read_numbers(validation)
    curves = [
        ("accuracy", points(valid, "accuracy"), BLUE, "o-"),
        ("F1, macro", points(valid, "f1_macro"), GREEN, "x--"),
    ]
    return draw_lines("validation", curves)


def draw_lines(name: str, curves: list[tuple[str, tuple[list[float], list[float]], str, str]]) -> str:
    curves = [curve for curve in curves if curve[1][0]]
    if not curves:
        return ""

    def draw(axes: Any) -> None:
        for label, xy, color, line in curves:
            axes.plot(*xy, line, label=label, color=color)
        axes.set(xlabel="step")
        axes.legend()
        axes.grid()

    return svg(name, draw)


def draw_calibration(bins: list[dict[str, Any]]) -> str:
    """Accuracy by confidence, with its intervals, and the diagonal of a model that is as sure as it is right."""

    def draw(axes: Any) -> None:
        confidence, accuracy = ([one[key] for one in bins] for key in ("confidence", "accuracy"))
        low, high = np.array([one["interval"] for one in bins]).T
        axes.plot([0, 1], [0, 1], "--", color=INK, alpha=0.5, label="as sure as right")
        axes.vlines(confidence, low, high, color=BLUE, alpha=0.5)
        axes.plot(confidence, accuracy, "o-", color=BLUE, label="this model")
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
        axes.legend()
        axes.grid()

    return svg("calibration", draw)


def draw_confusion_map(table: np.ndarray) -> str:
    """Shares of each actual class that were predicted as each class, for more classes than a table can show."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    def draw(axes: Any) -> None:
        shares = table / np.maximum(table.sum(1, keepdims=True), 1)
        clear_to_blue = LinearSegmentedColormap.from_list("clear to blue", [(*to_rgb(BLUE), 0), (*to_rgb(BLUE), 1)])
        axes.imshow(shares, cmap=clear_to_blue, vmin=0, vmax=1, interpolation="nearest")
        axes.set(xlabel="number of the predicted class", ylabel="number of the actual class")

    return svg("confusion", draw, height=4.2)


def svg(name: str, draw: Any, height: float = 3.0) -> str:
    """What `draw` draws, 4.2 inches wide, as an SVG element for a page: equal drawings are equal bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure, text = Figure(figsize=(4.2, height), layout="constrained"), io.StringIO()
        draw(figure.subplots())
        figure.savefig(text, format="svg", transparent=True, metadata=NO_METADATA)
    element = text.getvalue()[text.getvalue().index("<svg") :]
    element = re.sub(r' xmlns(:\w+)?="[^"]*"', "", element).replace(INK, "currentColor")
    element = re.sub(
        r' id="(figure|axes|patch|line2d|text|matplotlib|xtick|ytick|legend|LineCollection)[\w.]*"', "", element
    )
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", element)
