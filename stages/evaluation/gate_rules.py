"""The gate's rules: each gives one row of a table that says what is wanted, what was found, and the verdict.

Nothing here imports MLflow.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.csv_tables import read_csv
from stages.core.errors import UserError
from stages.core.param_sections import Gate

# With so many, an end of a 95 % interval differs between seeds by 0.8 % of its width (standard deviation, 2,000 rows).
RESAMPLES = 10_000
HEADER = ("rule", "wanted", "found", "verdict")
OTHER_ROWS = (
    "The test rows are not those of the champion. Either measure the champion on these rows: check out its model, then "
    "run `dvc repro --single-item --force evaluate` and `python -m stages.gate`. Or set gate.champion_confidence to "
    "null for this one model; once it is promoted, the next models are compared with it."
)


@dataclass(frozen=True)
class Verdict:
    """The verdict on a rule of `gate` in params.yaml: pass, fail or off; with advice where the remedy is not plain."""

    rule: str
    wanted: str
    found: str
    verdict: str
    advice: str = ""


@dataclass(frozen=True)
class RowResults:
    """The labels of the test rows, and whether a model predicted each of them correctly; both `(N,)`, in order.

    `test_sha256` is the hash of the test rows.
    """

    test_sha256: str
    labels: Sequence[str]
    correct: np.ndarray

    @classmethod
    def read(cls, predictions: Path, test_sha256: str) -> "RowResults":
        """Read a `reports/predictions.csv`; UserError when it is missing or broken."""
        try:
            rows = read_csv(predictions, ["actual", "predicted"])
        except (OSError, ValueError) as error:
            raise UserError(
                f"{predictions}: cannot be read ({error}); run `dvc repro evaluate`, which makes it."
            ) from None
        labels = [actual for actual, _ in rows]
        correct = np.array([actual == predicted for actual, predicted in rows], dtype=bool)
        return cls(test_sha256, labels, correct)

    def has_same_rows(self, other: "RowResults") -> bool:
        return self.test_sha256 == other.test_sha256 and list(self.labels) == list(other.labels)


def judge_limits(gate: Gate, metrics: dict[str, Any]) -> list[Verdict]:
    """Judge each `min_<metric>` and `max_<metric>` of the section and of its `metrics`.

    A metric that is missing or not a number fails.
    """
    rules = [(key, limit) for key, limit in gate if key.startswith(("min_", "max_"))]
    rules += list((gate.metrics or {}).items())
    return [judge_limit(key, limit, metrics.get(key[len("min_") :])) for key, limit in rules]


def judge_limit(rule: str, limit: float | None, found: Any) -> Verdict:
    """Judge one `min_` or `max_` rule; with no limit it is off."""
    is_number = isinstance(found, (int, float)) and math.isfinite(found)
    shown = "missing" if found is None else f"{found:.6g}" if is_number else str(found)
    if limit is None:
        return Verdict(rule, "", shown, "off")
    is_minimum = rule.startswith("min_")
    is_kept = is_number and (found >= limit if is_minimum else found <= limit)
    return Verdict(rule, f"{'≥' if is_minimum else '≤'} {limit:.6g}", shown, "pass" if is_kept else "fail")


def judge_champion(
    confidence: float | None, new: RowResults, champion: RowResults | None, note: str, seed: int
) -> Verdict:
    """Fail when the model is significantly less accurate than the champion: the whole interval is below 0.

    Without results of a champion the rule passes, and `note` says why there are none. Results on other test rows than
    the champion's cannot be compared, so the rule fails.
    """
    rule, wanted = "champion_confidence", "no loss"
    if confidence is None:
        return Verdict(rule, "", note, "off")
    if champion is None:
        return Verdict(rule, wanted, note, "pass")
    if not new.has_same_rows(champion):
        return Verdict(rule, wanted, f"{note} was measured on other test rows", "fail", OTHER_ROWS)
    low, high = bootstrap_difference(new.correct, champion.correct, confidence, seed)
    return Verdict(rule, wanted, f"{low:+.4f} to {high:+.4f} against {note}", "fail" if high < 0 else "pass")


def bootstrap_difference(new: np.ndarray, old: np.ndarray, confidence: float, seed: int) -> tuple[float, float]:
    """Confidence interval of `new` accuracy minus `old`, from which rows, `(N,)` each, two models predict correctly.

    Paired bootstrap, percentiles (Efron and Tibshirani, An Introduction to the Bootstrap, 1993; Koehn, EMNLP 2004):
    rows are drawn with replacement, the same for both. A row's difference is -1, 0 or 1, and how often a resample has
    each of them follows a multinomial distribution. So these three numbers are drawn instead of rows: memory does not
    grow with the rows.
    """
    values, counts = np.unique(new.astype(int) - old.astype(int), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(new), counts / len(new), size=RESAMPLES)
    low, high = np.quantile(drawn @ values / len(new), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def format_table(verdicts: Iterable[Verdict]) -> str:
    """A table in Markdown that also reads well in a terminal."""
    rows: list[tuple[str, ...]] = [HEADER, *((one.rule, one.wanted, one.found, one.verdict) for one in verdicts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows
    )
