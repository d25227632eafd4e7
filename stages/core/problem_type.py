"""Whether a text has one label of several, or any number of them; the names are those of transformers."""

from typing import Literal, NamedTuple

ProblemType = Literal["single_label_classification", "multi_label_classification"]
SINGLE_LABEL: ProblemType = "single_label_classification"
MULTI_LABEL: ProblemType = "multi_label_classification"
NO_LABEL = "(none)"  # in a confusion matrix of several labels: where a label has no counterpart
LABEL_SEPARATOR = "|"  # between the labels of a text, where they are one string


class Task(NamedTuple):
    """What a classifier has to answer."""

    labels: list[str]
    problem_type: ProblemType = SINGLE_LABEL
    is_ordinal: bool = False  # whether the labels have an order, the lowest first
