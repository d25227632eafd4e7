"""What is answered for a text, and the columns of predict's output."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stages.core.errors import UserError, to_one_line
from stages.core.problem_type import LABEL_SEPARATOR, MULTI_LABEL
from stages.evaluation.predictions import Predictions


class Answer(NamedTuple):
    """The prediction for one text; MLflow's server returns these fields."""

    label: str | list[str]  # with several labels a text all that it gets, else one; empty when it is not sure enough
    probability: float | list[float]  # of that label or of those labels; of the most probable one, if it abstained
    scores: dict[str, float]  # the probability of each label of the model, in its order
    abstained: bool  # whether the text has no label because no probability reaches the threshold; for one label a text
    truncated: bool  # whether the text has more tokens than the model reads


def make_answers(predictions: Predictions, truncated: Sequence[bool], problem_type: str) -> list[Answer]:
    """The answers to N texts; `truncated`, `(N,)`, says which of them the model did not read to the end."""
    scores = [dict(zip(predictions.names, row, strict=True)) for row in predictions.probabilities.tolist()]
    if problem_type == MULTI_LABEL:
        return [
            make_answer_of_several([name for name, is_given in zip(one, chosen, strict=True) if is_given], one, is_long)
            for one, chosen, is_long in zip(scores, predictions.predicted.tolist(), truncated, strict=True)
        ]
    names, confidence = predictions.predicted_names, predictions.confidence.tolist()
    return [
        Answer(name if is_answer else "", probability, one, not is_answer, is_long)
        for name, probability, one, is_answer, is_long in zip(
            names, confidence, scores, predictions.answered.tolist(), truncated, strict=True
        )
    ]


def make_answer_of_several(labels: list[str], scores: dict[str, float], truncated: bool) -> Answer:
    """The answer with these labels, and their probabilities."""
    return Answer(labels, [scores[label] for label in labels], scores, False, truncated)


class OutputColumns(NamedTuple):
    """Which columns there are: label and probability, the next best labels, and the score of each label."""

    labels: Sequence[str]  # all that the model has
    has_several: bool = False  # whether a text may get several of them
    top_k: int = 1  # 3 adds label_2, probability_2, label_3 and probability_3
    has_scores: bool = False

    @classmethod
    def make(cls, labels: Sequence[str], problem_type: str, top_k: int, has_scores: bool) -> "OutputColumns":
        """UserError when the model has fewer labels than `top_k`, or gives a text several of them."""
        has_several = problem_type == MULTI_LABEL
        if top_k > 1 and has_several:
            reason = "this model gives a text any number of labels, so that none is the second best"
            raise UserError(f"--top-k: found {top_k}; {reason}. --scores adds the probability of each label.")
        if top_k > len(labels):
            raise UserError(f"--top-k: found {top_k}; this model has {len(labels)} labels.")
        return cls(labels, has_several, top_k, has_scores)

    def list_names(self) -> list[str]:
        """The names of the columns."""
        names = ["label", "probability"]
        for rank in range(2, self.top_k + 1):
            names += [f"label_{rank}", f"probability_{rank}"]
        return names + [f"score_{label}" for label in self.labels if self.has_scores]

    def list_label_cells(self) -> list[str]:
        """What may be in the column of the label: each label and, where a text may get several, all of them."""
        return [*self.labels, *[LABEL_SEPARATOR.join(self.labels)] * self.has_several]

    def list_types(self) -> list[Any]:
        """The types of the columns: str and float, or lists of them where a text may get several labels."""
        label, probability = (list[str], list[float]) if self.has_several else (str, float)
        scores = [float] * len(self.labels) * self.has_scores
        return [label, probability, *[str, float] * (self.top_k - 1), *scores]

    def make_values(self, answer: Answer) -> list[Any]:
        """An answer as the values of one row, of these types; None for the label of a text that has none."""
        return self.make_answer_values(answer) + [answer.scores[label] for label in self.labels if self.has_scores]

    def make_cells(self, answer: Answer) -> list[str]:
        """An answer as the cells of one row."""
        return [format_value(value) for value in self.make_values(answer)]

    def make_line(self, answer: Answer) -> list[str]:
        """An answer as the cells of a line without a header: scores have their labels beside them."""
        cells = [format_value(value) for value in self.make_answer_values(answer)]
        return cells + [f"{label}={format_value(answer.scores[label])}" for label in self.labels if self.has_scores]

    def make_answer_values(self, answer: Answer) -> list[Any]:
        """The values of label and probability, and of those that are next."""
        values: list[Any] = [None if answer.abstained else answer.label, answer.probability]
        if self.top_k > 1:
            ranked = sorted(answer.scores, key=lambda label: -answer.scores[label])
            best = answer.label or ranked[0]
            for label in [label for label in ranked if label != best][: self.top_k - 1]:
                values += [label, answer.scores[label]]
        return values


def check_added_columns(path: Path, header: Sequence[str], names: Sequence[str], prefix: str) -> None:
    """Raise UserError when a file with this header has one of the columns that are to be added."""
    for name in names:
        if f"{prefix}{name}" in header:
            raise UserError(
                f"{path}: has a column {to_one_line(f'{prefix}{name}')!r} already; --prefix predicted_ adds "
                f"predicted_label and predicted_probability instead{', and so on' * (len(names) > 2)}."
            )


def format_value(value: str | float | list[str] | list[float] | None) -> str:
    """A value as a cell: `0.9123` for a probability, several with a separator between them, empty for None."""
    if isinstance(value, list):
        return LABEL_SEPARATOR.join(map(format_value, value))
    return f"{value:.4f}" if isinstance(value, float) else value or ""
