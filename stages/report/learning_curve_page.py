"""The page of a learning curve."""

from typing import Any

import numpy as np

from stages.report.study_figures import draw_learning_curve
from stages.report.study_page import StudyPage

METRICS = ("accuracy", "f1_macro", "loss")


def make_learning_curve_page(
    name: str,
    metric: str,
    results: list[tuple[dict[str, int], dict[str, Any]]],
    answer: str,
    curve: tuple[np.ndarray, np.ndarray, np.ndarray],
    facts: dict[str, str],
) -> StudyPage:
    """`results` are parts, with `rows` and `draw`, and what `Training.describe` says of their trainings.

    `curve` has rows `(P,)`, the fitted score there `(P,)`, and the ends of its interval `(2, P)`.
    """
    sizes = [part["rows"] for part, _ in results]
    scores = [result["best"][metric] for _, result in results]
    metrics = (metric, *(other for other in METRICS if other != metric))
    return StudyPage(
        title=f"Learning curve: {len(results)} trainings",
        answer=[answer],
        facts=facts | {"Study": name},
        figures={"Score by training rows": draw_learning_curve(sizes, scores, *curve, metric)},
        columns=("rows", "draw", *metrics, "seconds"),
        rows=[
            (
                part["rows"],
                part["draw"],
                *(result["best"][column] for column in metrics),
                round(result["seconds"], 2),
            )
            for part, result in results
        ],
        notes=[
            "Each training has rows and a seed of its own. The curve is a power law, error = c + a · rows^-b "
            "(Hestness et al. 2017, Viering and Loog 2022). The band is where 95 of 100 single trainings would be. All "
            "are measured on the same validation rows.",
        ],
        wide=frozenset({"Score by training rows"}),
    )
