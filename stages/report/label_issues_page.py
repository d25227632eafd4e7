"""The table and the page of labels that are probably wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.core.problem_type import LABEL_SEPARATOR
from stages.report.study_figures import draw_quality
from stages.report.study_page import StudyPage

COLUMNS = ("split", "row", "given", "suggested", "score", "given_probability", "suggested_probability", "text")


def list_issues(
    issues: Sequence[Any], names: Sequence[str], texts: Mapping[str, Sequence[str]]
) -> list[tuple[Any, ...]]:
    """Rows with `COLUMNS` of issues as `find_label_issues` returns them; `texts` are those of each split, in order.

    A row is counted from 0, within its split.
    """
    places = [(split, row, text) for split, found in texts.items() for row, text in enumerate(found)]
    return [
        (
            *places[issue.row][:2],
            join_labels(issue.given, names),
            join_labels(issue.suggested, names),
            *(
                round(float(number), 4)
                for number in (issue.score, issue.given_probability, issue.suggested_probability)
            ),
            places[issue.row][2],
        )
        for issue in issues
    ]


def join_labels(labels: Sequence[int], names: Sequence[str]) -> str:
    """The names of labels, given by their numbers, in one cell; empty for none."""
    return LABEL_SEPARATOR.join(names[label] for label in labels)


def make_label_issues_page(
    name: str,
    rows: list[tuple[Any, ...]],
    quality: np.ndarray,
    issues: Sequence[float],
    accuracy: float,
    facts: dict[str, str],
) -> StudyPage:
    """`quality` is that of all N labels, `(N,)`, `issues` that of those which are probably wrong."""
    share = len(rows) / len(quality)
    answer = [
        f"{len(rows):,} of {len(quality):,} labels are probably wrong ({100 * share:.1f} %).",
        f"Models that had not seen the rows agree with {100 * accuracy:.1f} % of all labels. Where a model is weak, "
        "correct labels of hard texts are among the suggestions: read them, the worst come first.",
    ]
    return StudyPage(
        title=f"Label issues: {len(rows):,} of {len(quality):,} rows",
        answer=answer,
        facts=facts | {"Study": name},
        figures={"Quality of the labels": draw_quality(quality.tolist(), issues)},
        columns=COLUMNS,
        rows=rows,
        notes=[
            "The score of a label is from 0, surely wrong, to 1. A label is probably wrong where confident learning "
            "says so (Northcutt et al. 2021). Rows are counted from 0, within their split."
        ],
    )
