"""Figures of studies, as SVG elements for their pages."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.report.figures import BLUE, GREEN, INK, ORANGE, render_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TICKS = 8  # of different numbers on an axis; of more, it has the ends
LEAST_GAP = 0.05  # between two labels of an axis, as a share of its length: the height of a letter
AXIS_WIDTH = 1.3  # inches between two axes, which hold a label of LONGEST_LABEL letters
LONGEST_LABEL = 20


def draw_search(numbers: Sequence[int], values: Sequence[float], stopped: Sequence[bool], lower_is_better: bool) -> str:
    """The score of each trial by its number, and the best so far; trials that were stopped early are pale.

    A score may be NaN: such a trial has no dot.
    """
    x, y, is_stopped = np.array(numbers), np.array(values, dtype=float), np.array(stopped, dtype=bool)

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        if is_stopped.any():
            axes.plot(x[is_stopped], y[is_stopped], "x", color=INK, alpha=0.4, label="stopped early")
        axes.plot(x[~is_stopped], y[~is_stopped], "o", color=BLUE, markersize=4, label="complete")
        best = (np.fmin if lower_is_better else np.fmax).accumulate(y[~is_stopped])
        axes.step(x[~is_stopped], best, where="post", color=ORANGE, label="best so far")
        axes.set(xlabel="trial", ylabel="score on validation")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
        axes.legend()
        axes.grid()

    return render_svg("search", draw)


def draw_importance(importance: dict[str, float]) -> str:
    """The share of each param in the differences between trials, as bars, the largest on top."""

    def draw(axes: "Axes") -> None:
        names = sorted(importance, key=lambda name: importance[name])
        axes.barh(names, [importance[name] for name in names], color=BLUE)
        axes.set(xlabel="share of the differences", xlim=(0, 1))

    return render_svg("importance", draw, height=0.8 + 0.35 * len(importance))


def draw_parallel(
    columns: Mapping[str, Sequence[Any]], values: Sequence[float], log: set[str], lower_is_better: bool
) -> str:
    """Parallel coordinates: an axis for each param, then the score; a line for each trial, good ones in color.

    A trial whose score is NaN has no line; at least one has a score.
    """
    scored = np.flatnonzero(np.isfinite(values)).tolist()
    scales = {name: scale_column([column[trial] for trial in scored], name in log) for name, column in columns.items()}
    scales["score"] = scale_column([values[trial] for trial in scored], False)
    heights = np.array([positions for positions, _ in scales.values()])
    score = heights[-1]
    good = 1 - score if lower_is_better else score

    def draw(axes: "Axes") -> None:
        for trial in np.argsort(good, kind="stable"):  # the best are drawn last, above the others
            is_best = trial == np.argmax(good)
            style: dict[str, Any] = {"color": ORANGE, "linewidth": 2} if is_best else {"color": BLUE, "linewidth": 1}
            axes.plot(heights[:, trial], **style, alpha=1 if is_best else 0.05 + 0.55 * float(good[trial]) ** 2)
        for number, (_, ticks) in enumerate(scales.values()):
            axes.axvline(number, color=INK, linewidth=0.8)
            for height, label in thin_ticks(ticks):
                axes.text(number + 0.04, height, cut_label(label), fontsize=7, va="center")
        axes.set_xticks(range(len(scales)), list(scales), rotation=20, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set(ylim=(-0.06, 1.06), xlim=(-0.1, len(scales) - 0.4), yticks=[])
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)

    return render_svg("parallel", draw, height=3.6, width=max(8.4, AXIS_WIDTH * len(scales)))


def scale_column(column: Sequence[Any], log: bool) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Positions from 0 to 1 of a column's values, `(N,)`, and the labels of its axis by position.

    Values that are not numbers are placed by their order in the alphabet. `log` counts only where all are above 0.
    """
    is_numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in column)
    names = sorted({str(value) for value in column})
    numbers = np.array([value if is_numeric else names.index(str(value)) for value in column], dtype=float)
    scaled = np.log(numbers) if log and is_numeric and (numbers > 0).all() else numbers
    low, high = scaled.min(), scaled.max()
    positions = (scaled - low) / (high - low) if high > low else np.full(len(scaled), 0.5)
    distinct = sorted(
        zip(positions.tolist(), [str(value) for value in column], column, strict=True), key=lambda t: t[0]
    )
    if is_numeric and len({place for place, _, _ in distinct}) > MOST_TICKS:
        return positions, [(distinct[0][0], f"{distinct[0][2]:.3g}"), (distinct[-1][0], f"{distinct[-1][2]:.3g}")]
    return positions, sorted({(place, f"{value:.3g}" if is_numeric else text) for place, text, value in distinct})


def thin_ticks(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Those of the ticks, in the order of their positions from 0 to 1, whose labels do not touch; both ends stay."""
    kept = ticks[:1]
    for tick in ticks[1:-1]:
        if min(tick[0] - kept[-1][0], ticks[-1][0] - tick[0]) >= LEAST_GAP:
            kept.append(tick)
    return kept + ticks[1:][-1:]


def cut_label(label: str) -> str:
    """A label that does not reach the next axis."""
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def draw_learning_curve(
    rows: Sequence[int], scores: Sequence[float], at: np.ndarray, curve: np.ndarray, ends: np.ndarray, metric: str
) -> str:
    """Trainings by their rows, and the fitted curve at `at` rows, `(P,)`, with its interval `ends`, `(2, P)`."""

    def draw(axes: "Axes") -> None:
        is_measured = at <= max(rows)
        axes.fill_between(at, *ends, color=ORANGE, alpha=0.15, linewidth=0, label="95 % of trainings")
        axes.plot(at[is_measured], curve[is_measured], color=ORANGE, label="power law")
        axes.plot(at[~is_measured], curve[~is_measured], "--", color=ORANGE)
        axes.plot(rows, scores, "o", color=BLUE, markersize=4, label="trainings")
        sizes = sorted({*rows, int(at[-1])})
        places, _ = scale_column(sizes, log=True)
        shown = thin_ticks([(place, str(size)) for place, size in zip(places.tolist(), sizes, strict=True)])
        axes.set(xscale="log", xlabel="training rows", ylabel=f"{metric} on validation")
        ticks = [int(size) for _, size in shown]
        axes.set_xticks(ticks, [f"{size:,}" for size in ticks], fontsize=8, rotation=30)
        axes.minorticks_off()
        axes.legend()
        axes.grid()

    return render_svg("learning-curve", draw, height=3.4)


def draw_seeds(values: Mapping[str, Sequence[float]], ends: Mapping[str, tuple[float, float]]) -> str:
    """Each metric as a row with its own scale: a dot for each seed, the mean, and its interval as a bar."""
    share = 1 / len(values)

    def draw(axes: "Axes") -> None:
        axes.axis("off")
        for number, (name, numbers) in enumerate(values.items()):
            row = axes.inset_axes((0, 1 - (number + 0.45) * share, 1, 0.45 * share))
            row.hlines(0, *ends[name], color=ORANGE, linewidth=9, alpha=0.4)
            row.plot(numbers, [0] * len(numbers), "o", color=BLUE, alpha=0.9, markersize=5)
            row.plot([np.mean(numbers)], [0], "|", color=INK, markersize=16, markeredgewidth=2)
            row.set_yticks([0], [name])
            row.set(ylim=(-1, 1))
            row.locator_params(axis="x", nbins=4)
            row.spines["left"].set_visible(False)
            row.tick_params(axis="x", labelsize=8)
            row.tick_params(axis="y", length=0)
            row.grid(axis="x")
        row.set_xlabel("on validation")

    return render_svg("seeds", draw, height=0.4 + 0.7 * len(values))


def draw_quality(scores: Sequence[float], issues: Sequence[float]) -> str:
    """Histogram of the quality of all labels, `(N,)`, and of those that are probably wrong."""

    def draw(axes: "Axes") -> None:
        bins = np.linspace(0, 1, 41).tolist()
        axes.hist(scores, bins, color=GREEN, alpha=0.6, label="all labels")
        axes.hist(issues, bins, color=ORANGE, label="probably wrong")
        axes.set(xlabel="quality of the label", ylabel="rows", yscale="log", xlim=(0, 1))
        axes.yaxis.set_major_formatter("{x:,.0f}")  # else powers of ten as mathematics, which SVG does not have
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)  # above the bars
        axes.grid()

    return render_svg("quality", draw)
