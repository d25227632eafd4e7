"""The page of a search: the best trial, the progress of the score, and which params matter."""

from typing import Any, NamedTuple

from stages.core.metric_names import LOWER_IS_BETTER
from stages.core.sweep_space import Dimension
from stages.report.study_figures import draw_importance, draw_parallel, draw_search
from stages.report.study_page import StudyPage

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
    complete = [one for one in trials if one.value is not None]
    best = min(complete, key=lambda one: (1 if lower else -1) * (one.value or 0))
    stopped = sum(one.value is None for one in trials)
    seconds = sum(one.result["seconds"] for one in trials)
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
    columns, rows = list_trials(trials, space, metric)
    shown = [one for one in trials if one.value is not None or one.result["validation"]]
    values = [one.value if one.value is not None else last_score(one, metric) for one in shown]
    figures = {
        "Score by trial": draw_search(
            [one.number for one in shown], values, [one.value is None for one in shown], lower
        ),
        "Params and score": draw_parallel(
            {key.removeprefix("train."): [one.params[key] for one in shown] for key in space},
            values,
            {key.removeprefix("train.") for key, dimension in space.items() if dimension.log},
            lower,
        ),
    }
    if importance:
        figures["Importance"] = draw_importance(
            {key.removeprefix("train."): share for key, share in importance.items()}
        )
    return StudyPage(
        title=f"Sweep: {len(trials):,} trials",
        answer=answer,
        facts=facts | {"Study": name, "Stopped early": f"{stopped:,} trials", "Seconds": f"{seconds:,.0f} in trials"},
        figures=figures,
        notes=[
            "Among params and scores, the orange line is the best trial; the paler a line is, the worse is its score.",
            "Importance is the share of a param in the differences between complete trials (fANOVA, Hutter 2014).",
        ],
        columns=columns,
        rows=rows,
        commands=commands,
        wide=frozenset({"Params and score"}),
    )


def last_score(trial: SearchedTrial, metric: str) -> float:
    """The score of the last validation of a trial that was stopped."""
    return trial.result["validation"][-1][metric]


def list_trials(
    trials: list[SearchedTrial], space: dict[str, Dimension], metric: str
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns and rows of the table of trials, the best first; trials that were stopped have no score."""
    others = tuple(name for name in METRICS if name != metric)
    names = [key.removeprefix("train.") for key in space]
    columns = ("trial", metric, *others, *names, "seconds", "state")
    sign = 1 if metric in LOWER_IS_BETTER else -1
    in_order = sorted(trials, key=lambda one: (one.value is None, sign * (one.value or 0), one.number))
    rows = [
        (
            one.number,
            one.value,
            *(one.result["best"].get(name) if one.value is not None else None for name in others),
            *(one.params[key] for key in space),
            round(one.result["seconds"], 2),
            one.result.get("problem") or ("stopped" if one.value is None else "complete"),
        )
        for one in in_order
    ]
    return columns, rows


def format_value(value: Any) -> str:
    """A param's value with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
