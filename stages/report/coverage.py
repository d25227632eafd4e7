"""The curve of a model that may abstain: how right its answers are, by the share of texts that it answers."""

from typing import TYPE_CHECKING

from stages.report.figures import BLUE, ORANGE, render_svg

if TYPE_CHECKING:  # Matplotlib takes a second to import
    from matplotlib.axes import Axes


def draw_coverage(points: list[dict[str, float]], chosen: dict[str, float] | None = None) -> str:
    """SVG: accuracy by coverage, as `coverage_curve` gives them, and the point of the threshold that was chosen."""

    def draw(axes: "Axes") -> None:
        coverage = [point["coverage"] for point in points]
        accuracy = [point["accuracy"] for point in points]
        axes.plot(coverage, accuracy, "o-", color=BLUE, markersize=3, label="this model")
        if chosen:
            axes.plot(chosen["coverage"], chosen["accuracy"], "D", color=ORANGE, label="its threshold")
            axes.legend()
        lowest = min(accuracy)
        axes.set(xlabel="share of texts that are answered", ylabel="accuracy of the answers")
        axes.set(xlim=(0, 1.02), ylim=(max(0, lowest - 0.1), 1.01))
        axes.grid()

    return render_svg("coverage", draw)
