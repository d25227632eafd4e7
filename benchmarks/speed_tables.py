"""The speed benchmark's measurements as tables and a picture."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from matplotlib.figure import Figure

from stages.core.files import new_file

COMPARISON_COLUMNS = (
    *("", "training, seconds: plain", "ours", "times faster", "test accuracy: plain", "ours"),
    *("peak memory, MiB: plain", "ours", "runs"),
)
ABLATION_COLUMNS = (
    *("", "training, seconds", "samples a second", "times faster than above", "than the first", "test accuracy"),
    "peak memory, MiB",
)


LONG_TEXTS = "With 512 tokens time and memory alone are compared: few steps leave accuracy near chance."


def write_tables(results: dict[str, Any], path: Path) -> None:
    """Write what was measured so far to `path` with `.md` and, once there is an ablation, `.png`."""
    comparison, ablation = (
        group_by_name([run for run in results["runs"] if run["group"] == group]) for group in ("comparison", "ablation")
    )
    about = "".join(f"- {key}: {value}\n" for key, value in results["about"].items())
    text = f"# Speed against plain Trainer\n\n{about}\n{compare(comparison, results['freeze'])}\n{LONG_TEXTS}\n"
    if ablation:
        text += f"\n# One remedy after the other\n\n{ablate(ablation)}\n![]({path.name}.png)\n"
        draw(ablation, path.with_suffix(".png"))
    with new_file(path.with_suffix(".md")) as part:
        part.write_text(text, encoding="utf-8")


def pairs(freeze: int) -> list[tuple[str, str, str]]:
    """What is compared: in words, a run of plain Trainer, a run of ours."""
    some, long = f"{freeze} layers frozen", "all trained, 512 tokens"
    plain, ours = f"plain, {freeze} frozen", f"ours, {freeze} frozen"
    return [
        (f"{some}, first run", plain, f"{ours}, first run"),
        (f"{some}, repeated with another learning rate", plain, f"{ours}, repeated run"),
        (f"{some}, first run, against fp32, all trained, padded", "plain, beginner", f"{ours}, first run"),
        ("all layers frozen, first run", "plain, all frozen", "ours, all frozen, first run"),
        (
            "all layers frozen, repeated with another learning rate",
            "plain, all frozen",
            "ours, all frozen, repeated run",
        ),
        ("all layers trained, natural lengths up to 512 tokens", f"plain, {long}", f"ours, {long}"),
    ]


def group_by_name(runs: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault(run["name"], []).append(run)
    return groups


def middle(runs: list[dict[str, Any]], key: str = "training_seconds") -> float:
    return median(run[key] for run in runs)


def compare(groups: dict[str, list[dict[str, Any]]], freeze: int) -> str:
    """Medians over seeds (accuracy: mean) of plain Trainer and ours, and what lies between them."""
    rows = []
    for what, plain, ours in pairs(freeze):
        if plain in groups and ours in groups:
            one, two = groups[plain], groups[ours]
            accuracy = (mean(run["test_accuracy"] for run in runs) for runs in (one, two))
            cells = [
                what,
                f"{middle(one):.1f}",
                f"{middle(two):.1f}",
                f"**{middle(one) / middle(two):.1f}**",
                *(f"{value:.3f}" for value in accuracy),
                *(f"{middle(runs, 'peak_memory_mb'):,.0f}" for runs in (one, two)),
                f"{len(one)} / {len(two)}",
            ]
            rows.append(cells)
    return table(COMPARISON_COLUMNS, rows)


def ablate(groups: dict[str, list[dict[str, Any]]]) -> str:
    """One row a remedy, each against the row above and against the first."""
    rows = []
    first = above = None
    for name, runs in groups.items():
        seconds = middle(runs)
        first, above = first or seconds, above or seconds
        cells = [
            name,
            f"{seconds:.1f}",
            f"{middle(runs, 'samples_per_second'):,.0f}",
            f"{above / seconds:.2f}",
            f"{first / seconds:.1f}",
            f"{middle(runs, 'test_accuracy'):.3f}",
            f"{middle(runs, 'peak_memory_mb'):,.0f}",
        ]
        rows.append(cells)
        above = seconds
    return table(ABLATION_COLUMNS, rows)


def table(columns: Sequence[str], rows: list[list[str]]) -> str:
    """A Markdown table with numbers on the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def draw(groups: dict[str, list[dict[str, Any]]], picture: Path) -> None:
    """Bars of training seconds, on a logarithmic scale."""
    figure = Figure(figsize=(10, 0.45 * len(groups) + 1), layout="constrained")
    axes, seconds = figure.subplots(), [middle(runs) for runs in groups.values()]
    ours = ["tab:orange" if not runs[0]["run"].get("plain") else "tab:blue" for runs in groups.values()]
    bars = axes.barh(list(groups), seconds, color=ours)
    axes.bar_label(bars, [f"{value:.1f} s, {seconds[0] / value:.1f} x" for value in seconds], padding=4)
    axes.set(xscale="log", xlabel="training, seconds (blue: plain Trainer, orange: this pipeline)")
    axes.set_xlim(right=max(seconds) * 6)
    axes.invert_yaxis()
    with new_file(picture) as part:
        figure.savefig(part, format="png", dpi=120)
