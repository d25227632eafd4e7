"""Whether a text has one label of several, or any number of them; the names are those of transformers."""

from typing import Literal

ProblemType = Literal["single_label_classification", "multi_label_classification"]
SINGLE_LABEL: ProblemType = "single_label_classification"
MULTI_LABEL: ProblemType = "multi_label_classification"
LABEL_SEPARATOR = "|"  # between the labels of a text, where they are one string
