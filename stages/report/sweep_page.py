"""The page of a search: the best trial, the progress of the score, and which params matter."""

from typing import Any, NamedTuple

from stages.core.metric_names import LOWER_IS_BETTER
from stages.core.sweep_space import Dimension
from stages.report.study_figures import draw_importance, draw_parallel, draw_search
from stages.report.study_page import StudyPage

PARALLEL = "Params and score"  # the caption of a figure
NOTES = [
    "Among params and scores, the orange line is the best trial; the paler a line is, the worse is its score.",
    "Importance is the share of a param in the differences between complete trials (fANOVA, Hutter 2014).",
]
METRICS = ("accuracy", "f1_macro", "loss")  # of validation, in the table beside the one that chose


class SearchedTrial(NamedTuple):
    """A finished trial; `value` is the score, None for one that was stopped early."""

    number: int
    params: dict[str, Any]
    value: float | None
    result: dict[str, Any]  # that of `Training.describe`


def make_sweep_page(
    name: str,
    trials: list[SearchedTrial],
    space: dict[str, Dimension],
    importance: dict[str, float],
    metric: str,
    facts: dict[str, str],
    winner: dict[str, Any] | None,
) -> StudyPage:
    """The page of the finished trials, at least one of them complete.

    `winner` has the name of the best trial's `experiment` and the metrics of its `test`, where it was run.
    """
    lower = metric in LOWER_IS_BETTER
    best_first = sort_trials(trials, lower)
    best = best_first[0]
    answer = [
        f"Trial {best.number} is the best of {len(trials):,}: {metric} {best.value:.4f} on validation.",
        "It has " + ", ".join(f"{key} {format_value(value)}" for key, value in best.params.items()) + ".",
    ]
    commands = []
    if winner:
        test = winner["test"]
        answer.append(
            f"On the {test['rows']:,} test rows, which no trial has seen, its experiment has accuracy "
            f"{test['accuracy']:.4f}. Validation chose the best of many trials, so its own number is too good."
        )
        commands = [f"dvc exp show --only-changed  # {winner['experiment']} is in the list", "python -m stages.gate"]
    stopped = sum(one.value is None for one in trials)
    seconds = sum(one.result["seconds"] for one in trials)
    columns, rows = list_trials(best_first, space, metric)
    return StudyPage(
        title=f"Sweep: {len(trials):,} trials",
        answer=answer,
        facts=facts | {"Study": name, "Stopped early": f"{stopped:,} trials", "Seconds": f"{seconds:,.0f} in trials"},
        figures=draw_figures(trials, space, importance, metric, lower),
        notes=NOTES,
        columns=columns,
        rows=rows,
        commands=commands,
        wide=frozenset({PARALLEL}),
    )


def sort_trials(trials: list[SearchedTrial], lower_is_better: bool) -> list[SearchedTrial]:
    """The trials, the best first; those that were stopped last."""
    sign = 1 if lower_is_better else -1
    return sorted(trials, key=lambda one: (one.value is None, sign * (one.value or 0), one.number))


def draw_figures(
    trials: list[SearchedTrial], space: dict[str, Dimension], importance: dict[str, float], metric: str, lower: bool
) -> dict[str, str]:
    """The figures by their captions; a trial that was stopped is shown with the score of its last validation."""
    shown = [one for one in trials if one.value is not None or one.result["validation"]]
    values = [one.result["validation"][-1][metric] if one.value is None else one.value for one in shown]
    columns = {shorten(key): [one.params[key] for one in shown] for key in space}
    log = {shorten(key) for key, dimension in space.items() if dimension.log}
    figures = {
        "Score by trial": draw_search(
            [one.number for one in shown], values, [one.value is None for one in shown], lower
        ),
        PARALLEL: draw_parallel(columns, values, log, lower),
    }
    if importance:
        figures["Importance"] = draw_importance({shorten(key): share for key, share in importance.items()})
    return figures


def list_trials(
    trials: list[SearchedTrial], space: dict[str, Dimension], metric: str
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns and rows of the table of trials; trials that were stopped have no score."""
    others = tuple(name for name in METRICS if name != metric)
    columns = ("trial", metric, *others, *map(shorten, space), "seconds", "state")
    rows = [
        (
            one.number,
            one.value,
            *(one.result["best"].get(name) if one.value is not None else None for name in others),
            *(one.params[key] for key in space),
            round(one.result["seconds"], 2),
            one.result.get("problem") or ("stopped" if one.value is None else "complete"),
        )
        for one in trials
    ]
    return columns, rows


def shorten(key: str) -> str:
    """The name of a param within its section."""
    return key.removeprefix("train.")


def format_value(value: Any) -> str:
    """A param's value with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
