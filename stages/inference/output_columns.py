"""The columns of predict's output. To add one, add a row to COLUMNS."""

from collections.abc import Callable
from typing import NamedTuple


class Answer(NamedTuple):
    """The prediction for one text; MLflow's server returns these fields."""

    label: str
    probability: float  # of that label
    truncated: bool  # whether the text has more tokens than the model reads


# Name of each column, in the order of the output → how an answer is written in it.
COLUMNS: dict[str, Callable[[Answer], str]] = {
    "label": lambda answer: answer.label,
    "probability": lambda answer: f"{answer.probability:.4f}",
}


def make_cells(answer: Answer) -> list[str]:
    """An answer as the cells of one row of the output."""
    return [write(answer) for write in COLUMNS.values()]
