"""The gate's rules: each gives one row of a table that says what was wanted, what was found, and whether that will do.

Nothing here knows MLflow.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages.core.errors import UserError
from stages.core.params import Gate

RESAMPLES = 10_000
HEADER = ("rule", "wanted", "found", "verdict")
OTHER_ROWS = (
    "The test rows are not those of the champion. Either measure the champion on these, with `dvc repro --single-item "
    "--force evaluate` and `python -m stages.gate` where its model is checked out; or set gate.champion_confidence to "
    "null for this one model, and when it is promoted the next are compared with it."
)


@dataclass(frozen=True)
class Verdict:
    """What one key of `gate` in params.yaml came to: pass, fail, or off; and what to do where that is not plain."""

    rule: str
    wanted: str
    found: str
    verdict: str
    advice: str = ""


@dataclass(frozen=True)
class Answers:
    """The labels of the test rows, and for each row whether a model answered it rightly; both `(N,)`, in order."""

    test_sha256: str
    actual: Sequence[str]
    right: np.ndarray

    @classmethod
    def read(cls, path: Path, test_sha256: str) -> "Answers":
        """UserError when there is no such table of predictions."""
        try:
            columns = ["actual", "predicted"]
            table = pd.read_csv(path, usecols=columns, dtype=str, keep_default_na=False, encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); run `dvc repro evaluate`, which makes it.") from None
        return cls(test_sha256, table["actual"], (table["actual"] == table["predicted"]).to_numpy(bool))

    def same_rows(self, other: "Answers") -> bool:
        return self.test_sha256 == other.test_sha256 and list(self.actual) == list(other.actual)


def judge_limits(gate: Gate, metrics: dict[str, Any]) -> list[Verdict]:
    """Judge each `min_<metric>` and `max_<metric>` of the section; a metric that is missing, or no number, fails."""
    return [
        judge_limit(key, limit, metrics.get(key[4:])) for key, limit in gate if key.startswith(("min_", "max_"))
    ]  # fmt: skip


def judge_limit(rule: str, limit: float | None, found: Any) -> Verdict:
    number = found if isinstance(found, (int, float)) and math.isfinite(found) else None
    shown = "missing" if found is None else f"{found:.6g}" if number is not None else str(found)
    if limit is None:
        return Verdict(rule, "", shown, "off")
    kept = number is not None and (number >= limit if rule.startswith("min_") else number <= limit)
    return Verdict(rule, f"{'≥' if rule.startswith('min_') else '≤'} {limit:.6g}", shown, "pass" if kept else "fail")


def judge_champion(confidence: float | None, new: Answers, champion: Answers | None, note: str, seed: int) -> Verdict:
    """Fail when the model is significantly less accurate than the champion: the whole interval is below 0.

    Where there are no answers of a champion to compare with, `note` says why, and the rule passes; on other rows than
    the champion's nothing can be compared, and it fails.
    """
    rule, wanted = "champion_confidence", "no loss"
    if confidence is None:
        return Verdict(rule, "", note, "off")
    if champion is None:
        return Verdict(rule, wanted, note, "pass")
    if not new.same_rows(champion):
        return Verdict(rule, wanted, f"{note} was measured on other test rows", "fail", OTHER_ROWS)
    low, high = difference_interval(new.right, champion.right, confidence, seed)
    return Verdict(rule, wanted, f"{low:+.4f} to {high:+.4f} against {note}", "fail" if high < 0 else "pass")


def difference_interval(new: np.ndarray, old: np.ndarray, confidence: float, seed: int) -> tuple[float, float]:
    """Confidence interval of `new` accuracy minus `old`, from which rows `(N,)` each of two models answers rightly.

    Paired bootstrap, percentiles (Efron and Tibshirani, An Introduction to the Bootstrap, 1993; Koehn, EMNLP 2004):
    rows are drawn with replacement, the same for both. Each counts -1, 0 or 1, and how many of these a resample has is
    multinomial, so that drawing their numbers is drawing the rows, in memory that does not grow with them.
    """
    values, counts = np.unique(new.astype(int) - old.astype(int), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(new), counts / len(new), size=RESAMPLES)
    low, high = np.quantile(drawn @ values / len(new), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def as_table(verdicts: Iterable[Verdict]) -> str:
    """A table in Markdown that also reads well in a terminal."""
    rows = [HEADER, *((one.rule, one.wanted, one.found, one.verdict) for one in verdicts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in rows
    )
