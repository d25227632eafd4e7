"""What a drift check found: as sentences, as JSON, and as a page for people that needs no other file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from markupsafe import Markup

from stages.core.files import new_file
from stages.core.param_sections import Drift
from stages.evaluation.differences import Comparison
from stages.evaluation.two_sample import FEWEST_TEXTS, TwoSampleTest
from stages.report.figures import BLUE, ORANGE, render_svg
from stages.report.rendering import render_template
from stages.report.study_page import format_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LABELS = 20  # of which the page shows how often they are predicted
PREDICTED = "Predicted: "


class ForeignText(NamedTuple):
    """A new text that the classifier of the test was most sure of."""

    location: str
    text: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class DriftResult:
    """How new texts compare with those of the test split; `rows` are the numbers of compared and of all, by sample."""

    csv: str
    test: TwoSampleTest
    is_new: np.ndarray  # of the scores of the test, bool (N,)
    rules: Drift
    rows: dict[str, tuple[int, int]]
    texts: Sequence[Comparison]
    metrics: Sequence[Comparison]  # none where too few new texts have labels
    labelled: int  # how many of the compared new texts have a label
    foreign: Sequence[ForeignText]

    @property
    def is_significant(self) -> bool:
        return self.test.p_value <= self.rules.alpha

    @property
    def has_drift(self) -> bool:
        """Whether the difference is neither chance nor one that the user lets pass."""
        return self.is_significant and self.test.auc > self.rules.max_auc

    def describe(self) -> list[str]:
        """The answer in sentences, the verdict first."""
        test = self.test
        found = f"AUC {test.auc:.3f}, 95 % interval {test.low:.3f} to {test.high:.3f}; p = {test.p_value:.3g}"
        if self.has_drift:
            verdict = f"Drift: a classifier tells the new texts from those of the test split ({found})."
        elif self.is_significant:
            verdict = f"A difference that drift.max_auc, {self.rules.max_auc:g}, lets pass ({found})."
        else:
            verdict = f"No drift found: a classifier cannot tell the new texts from those of the test split ({found})."
        if self.labelled and not self.metrics:
            return [verdict, f"{self.labelled} new texts have a label; metrics are compared from {FEWEST_TEXTS} on."]
        return [verdict, *map(describe_headline, self.metrics[:1])]

    def describe_power(self) -> str:
        """What the number of rows can show: the AUC that equal samples reach in a share `alpha` of cases."""
        from scipy.stats import norm

        new, reference = self.rows["new"][0], self.rows["test"][0]
        # The standard deviation of the AUC of equal samples (Mann and Whitney 1947).
        deviation = math.sqrt((new + reference + 1) / (12 * new * reference))
        least = 0.5 + norm.isf(self.rules.alpha) * deviation
        return f"With so many rows, an AUC below about {least:.2f} is not told from chance."

    def to_json(self) -> dict[str, Any]:
        """The content of `reports/drift.json`; each number is [value, low, high]."""
        return {
            "drift": self.has_drift,
            "csv": self.csv,
            "auc": [self.test.auc, self.test.low, self.test.high],
            "p_value": self.test.p_value,
            "rules": self.rules.model_dump(),
            "rows": {name: {"compared": used, "total": total} for name, (used, total) in self.rows.items()},
            "labelled_rows": self.labelled,
            "texts": [write_comparison(one) for one in self.texts],
            "metrics": [write_comparison(one) for one in self.metrics],
        }


def describe_headline(metric: Comparison) -> str:
    """Whether the first metric has changed."""
    numbers = metric.new, metric.reference, metric.difference
    new, reference, difference = ([f"{value:.3f}" for value in one] for one in numbers)
    kind = "lower" if metric.difference[0] < 0 else "higher"
    verdict = f"significantly {kind}" if metric.is_clear else "no significant difference"
    return (
        f"{metric.name} {new[0]} ({new[1]} to {new[2]}), on the test split {reference[0]} ({reference[1]} to "
        f"{reference[2]}): {verdict} ({difference[1]} to {difference[2]})."
    )


def write_comparison(one: Comparison) -> dict[str, Any]:
    """A comparison as JSON; a number that is not known is null."""
    values = {"test": one.reference, "new": one.new, "difference": one.difference}
    return {"name": one.name} | {
        name: [None if math.isnan(value) else value for value in of_name] for name, of_name in values.items()
    }


def write_drift_page(path: Path, result: DriftResult, facts: dict[str, str]) -> None:
    """Write the page; equal results give equal bytes."""
    labels = sorted(
        (one for one in result.texts if one.name.startswith(PREDICTED)), key=lambda one: -abs(one.difference[0])
    )
    shown = [one for one in result.texts if not one.name.startswith(PREDICTED)] + labels[:MOST_LABELS]
    values = {
        "title": "Drift found" if result.has_drift else "No drift found",
        "answer": result.describe(),
        "power": result.describe_power(),
        "result": result,
        "texts": list(map(format_comparison, shown)),
        "left_out": max(len(labels) - MOST_LABELS, 0),
        "metrics": list(map(format_comparison, result.metrics)),
        "foreign": [one._replace(text=format_cell(one.text)) for one in result.foreign],
        "figure": Markup(draw_scores(result.test.scores, result.is_new)),  # not escaped
        "facts": facts,
    }
    with new_file(path) as part:
        part.write_text(render_template("drift.html", values), encoding="utf-8")


def format_comparison(one: Comparison) -> dict[str, Any]:
    """The cells of a row: for each of the three numbers the value, and its interval or nothing."""
    scale = 100 if one.is_share else 1
    digits = 1 if one.is_share or one.name.startswith("Tokens") else 3
    unit = " %" if one.is_share else ""

    def write(numbers: Sequence[float], sign: str) -> tuple[str, str]:
        rounded = (round(scale * number, digits) + 0.0 for number in numbers)  # + 0.0, since -0.0 would get a sign
        value, *ends = (f"{number:{sign}.{digits}f}".replace("-", "−") for number in rounded)
        return f"{value}{unit}", "" if math.isnan(numbers[1]) else f"{ends[0]}{' to ' if sign else '–'}{ends[1]}"

    cells = [write(one.reference, ""), write(one.new, ""), write(one.difference, "+")]
    return {"name": one.name, "cells": cells, "is_clear": one.is_clear}


def draw_scores(scores: np.ndarray, is_new: np.ndarray) -> str:
    """Histograms of the scores of both samples, `(N,)`, each as shares of its texts."""

    def draw(axes: "Axes") -> None:
        bins = np.linspace(scores.min(), scores.max() + 1e-9, 41).tolist()
        for rows, color, label in ((~is_new, BLUE, "test split"), (is_new, ORANGE, "new texts")):
            share = np.full(rows.sum(), 1 / rows.sum())
            axes.hist(scores[rows], bins, weights=share, color=color, alpha=0.6, label=label)
        axes.set(xlabel="score: the higher, the more like the new texts", ylabel="share of the texts")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)  # above the bars
        axes.grid()

    return render_svg("drift", draw)
