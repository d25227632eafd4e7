"""Texts in, cells out: what each format of predict's input and output uses, with the counts for its warnings."""

import sys
from collections.abc import Callable
from typing import Any

from stages.inference.output_columns import Answer
from stages.inference.text_predictor import TextPredictor


class Labeller:
    """Computes the cells of the output's columns, and counts the texts that were truncated or have no label."""

    def __init__(self, predictor: TextPredictor, write: Callable[[Answer], list[Any]]):
        self.predictor, self.write = predictor, write
        self.rows = self.truncated = self.abstained = 0

    def __call__(self, texts: list[Any], locations: list[str]) -> list[list[Any]]:
        answers = self.predictor.predict(texts, locations)
        self.rows += len(answers)
        self.truncated += sum(answer.truncated for answer in answers)
        self.abstained += sum(answer.abstained for answer in answers)
        return [self.write(answer) for answer in answers]

    def warn(self) -> None:
        if self.truncated:
            what = f"{self.truncated:,} of {self.rows:,} texts were longer than the model reads"
            print(f"warning: {what}, {self.predictor.facts.max_length} tokens, and were truncated", file=sys.stderr)
        if self.abstained and self.predictor.thresholds is not None:
            what = f"{self.abstained:,} of {self.rows:,} texts have no label"
            print(f"{what}: no probability reaches {self.predictor.thresholds[0]:g}", file=sys.stderr)
