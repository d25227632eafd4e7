"""The page of trainings that differ only in the seed."""

from collections.abc import Sequence
from typing import Any, Protocol

from stages.report.study_figures import draw_seeds
from stages.report.study_page import StudyPage


class Spread(Protocol):
    """A metric over the seeds: mean, sample standard deviation, and the 95 % interval of the mean."""

    metric: str
    mean: float
    std: float
    low: float
    high: float


def make_seeds_page(
    name: str, results: dict[int, dict[str, Any]], spreads: Sequence[Any], facts: dict[str, str]
) -> StudyPage:
    """`results` are those of `Training.describe`, by seed; `spreads` have the attributes of `Spread`."""
    first = spreads[0]
    answer = [
        f"Over {len(results)} seeds, {first.metric} on validation is {first.mean:.4f} ± {first.std:.4f} "
        f"(mean and standard deviation).",
        f"The mean is between {first.low:.4f} and {first.high:.4f} (95 % interval, Student's t).",
    ]
    shown = [one for one in spreads if one.metric != "loss"]
    values: dict[str, Sequence[float]] = {
        one.metric: [result["best"][one.metric] for result in results.values()] for one in shown
    }
    metrics = tuple(one.metric for one in spreads)
    return StudyPage(
        title=f"{len(results)} seeds: {first.metric} {first.mean:.4f} ± {first.std:.4f}",
        answer=answer,
        facts=facts | {"Study": name},
        figures={
            "Each seed, the mean and its interval": draw_seeds(
                values, {one.metric: (one.low, one.high) for one in shown}
            )
        },
        columns=("seed", *metrics, "seconds"),
        rows=[
            (seed, *(result["best"][metric] for metric in metrics), round(result["seconds"], 2))
            for seed, result in results.items()
        ],
        notes=[
            f"{one.metric}: {one.mean:.4f} ± {one.std:.4f}, mean {one.low:.4f} to {one.high:.4f}" for one in spreads
        ],
    )
