"""Figures of the test results, and how figures are written: as PNG, or as SVG that takes the colors of the page."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.core.files import new_file
from stages.evaluation.predictions import LabelledPredictions
from stages.report.summary import MOST_CLASSES, Summary

if TYPE_CHECKING:  # Matplotlib takes a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

INK = "#010203"  # a color that nothing else has: the page replaces it by that of its text
BLUE, ORANGE, GREEN = "#3b8bd9", "#e0812b", "#3aa76d"  # can be read on white and on black
SVG_STYLE: dict["RcKeyType", Any] = {
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
# Ids that Matplotlib gives to groups; several figures in a page would repeat them, and nothing refers to them.
GROUP_ID = re.compile(r' id="(figure|axes|patch|line2d|text|matplotlib|xtick|ytick|legend|[A-Za-z]*Collection)[\w.]*"')


def draw_figures(summary: Summary) -> dict[str, str]:
    """The figures of the test results in the report, as SVG by the name by which `report.html` places them."""
    figures = {"calibration": draw_calibration(summary.calibration, summary.is_multi_label)}
    if len(summary.names) > MOST_CLASSES:
        figures["confusion"] = draw_confusion_map(summary.confusion)
    return figures


def draw_calibration(bins: list[dict[str, Any]], is_multi_label: bool = False) -> str:
    """SVG: accuracy by confidence with its intervals, and the diagonal where both are equal."""
    named = ("probability of a label", "share of texts with it") if is_multi_label else ("confidence", "accuracy")

    def draw(axes: "Axes") -> None:
        confidence = [one["confidence"] for one in bins]
        accuracy = [one["accuracy"] for one in bins]
        low, high = np.array([one["interval"] for one in bins]).T
        axes.plot([0, 1], [0, 1], "--", color=INK, alpha=0.5, label="perfect calibration")
        axes.vlines(confidence, low, high, color=BLUE, alpha=0.5)
        axes.plot(confidence, accuracy, "o-", color=BLUE, label="this model")
        axes.set(xlabel=named[0], ylabel=named[1], xlim=(0, 1.02), ylim=(0, 1.02))
        axes.legend()
        axes.grid()

    return render_svg("calibration", draw)


def draw_confusion_map(confusion: np.ndarray) -> str:
    """SVG: shares of each actual class that were predicted as each class, for more classes than a table can show."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    def draw(axes: "Axes") -> None:
        shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
        colors = LinearSegmentedColormap.from_list("clear to blue", [(*to_rgb(BLUE), 0), (*to_rgb(BLUE), 1)])
        axes.imshow(shares, cmap=colors, vmin=0, vmax=1, interpolation="nearest")
        axes.set(xlabel="number of the predicted class", ylabel="number of the actual class")

    return render_svg("confusion", draw, height=4.2)


def draw_confusion_matrix(predictions: LabelledPredictions, path: Path) -> None:
    """PNG: the confusion matrix, rows are actual classes, columns predicted ones; numbers only where they fit."""
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    # Matplotlib takes $...$ for mathematics.
    names = [name.replace("$", r"\$") for name in predictions.confusion_names]
    is_small = len(predictions.names) <= MOST_CLASSES
    size = min(3 + 0.7 * len(names), 14)
    figure = Figure(figsize=(size + 0.5, size), layout="constrained")
    display = ConfusionMatrixDisplay(predictions.confusion, display_labels=names if is_small else None)
    display.plot(
        include_values=is_small,
        cmap="Blues",
        colorbar=False,
        ax=figure.subplots(),
        xticks_rotation=45 if len(names) > 3 else 0,
    )
    write_png(figure, path)


def render_svg(name: str, draw: Callable[["Axes"], None], height: float = 3.0, width: float = 4.2) -> str:
    """What `draw` draws, so many inches wide, as an SVG element for a page; `name` makes its ids unique in the page.

    Equal drawings give equal bytes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    text = io.StringIO()
    with matplotlib.rc_context({**SVG_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        figure.savefig(text, format="svg", transparent=True, metadata=NO_METADATA)
    document = text.getvalue()
    element = document[document.index("<svg") :]  # without the XML declaration, which a page does not allow here
    element = re.sub(r' xmlns(:\w+)?="[^"]*"', "", element)
    element = GROUP_ID.sub("", element.replace(INK, "currentColor"))
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", element)


def write_png(figure: "Figure", path: Path) -> None:
    """Write a figure at 120 dots an inch."""
    with new_file(path) as part:
        figure.savefig(part, format="png", dpi=120)
