"""The curve of a model that may abstain: how right its answers are, by the share of texts that it answers."""

from typing import TYPE_CHECKING

from stages.report.figures import BLUE, ORANGE, render_svg

if TYPE_CHECKING:  # Matplotlib takes a second to import
    from matplotlib.axes import Axes

LOWEST_COVERAGE = 0.05  # of a point: how right the answers to fewer texts are is chance, and would set the scale


def draw_coverage(points: list[dict[str, float]], chosen: dict[str, float] | None = None) -> str:
    """SVG: accuracy by coverage, as `coverage_curve` gives them, and the point of the threshold that was chosen."""
    shown = [point for point in points if point["coverage"] >= LOWEST_COVERAGE]

    def draw(axes: "Axes") -> None:
        coverage = [point["coverage"] for point in shown]
        accuracy = [point["accuracy"] for point in shown]
        axes.plot(coverage, accuracy, "o-", color=BLUE, markersize=3, label="this model")
        if chosen:
            axes.plot(chosen["coverage"], chosen["accuracy"], "D", color=ORANGE, label="its threshold")
            axes.legend()
            accuracy.append(chosen["accuracy"])
        lowest = min(accuracy)
        axes.set(xlabel="share of texts that are answered", ylabel="accuracy of the answers")
        axes.set(xlim=(0, 1.02), ylim=(max(0, lowest - 0.1), 1.01))
        axes.grid()

    return render_svg("coverage", draw)
