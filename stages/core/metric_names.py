"""The metrics that `params.yaml` can name; `stages.evaluation.metrics` says which labels have which."""

import difflib
import math
from typing import Any, Literal, get_args

# Of a validation, in the order of the reports.
Metric = Literal[
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "f1_micro",
    "f1_weighted",
    "f1_samples",
    "precision_macro",
    "precision_micro",
    "recall_macro",
    "recall_micro",
    "matthews_corrcoef",
    "roc_auc",
    "average_precision",
    "average_precision_micro",
    "top_3_accuracy",
    "quadratic_weighted_kappa",
    "mean_absolute_error",
    "hamming_loss",
    "loss",
    "brier_score",
]
LOWER_IS_BETTER = frozenset({"loss", "hamming_loss", "brier_score", "mean_absolute_error"})
TEST_METRICS = (*get_args(Metric), "recall_worst_class", "accuracy_worst_slice", "calibration_error", "rows")
LIMITS = tuple(f"{side}_{name}" for side in ("min", "max") for name in TEST_METRICS)


def find_limit_problem(rule: Any, limit: Any) -> str | None:
    """What is wrong with a limit of a metric, such as `min_f1_micro: 0.6`; None when nothing is."""
    if rule not in LIMITS:
        close = difflib.get_close_matches(str(rule), LIMITS, n=1, cutoff=0)
        return f"{rule}: unknown metric; did you mean {close[0]}?"
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
        return f"{rule}: found {limit!r}; allowed: a number"
    return None
