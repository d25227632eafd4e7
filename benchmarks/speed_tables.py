"""Tables and a picture of the speed benchmark's measurements."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from matplotlib.figure import Figure

from stages.core.files import new_file

Groups = dict[str, list[dict[str, Any]]]
COMPARISON_COLUMNS = (
    *("", "training, seconds: plain", "ours", "times faster", "test accuracy: plain", "ours"),
    *("peak memory, MiB: plain", "ours", "runs"),
)
ABLATION_COLUMNS = (
    *("", "training, seconds", "samples a second", "times faster than above", "than the first", "test accuracy"),
    "peak memory, MiB",
)


def write_tables(results: dict[str, Any], path: Path) -> None:
    """Write the measurements so far to `path` with `.md` and, as soon as there is an ablation, `.png`."""
    comparison = group_by_name(results["runs"], "comparison")
    ablation = group_by_name(results["runs"], "ablation")
    about = "".join(f"- {key}: {value}\n" for key, value in results["about"].items())
    table = make_comparison_table(comparison, results["freeze"])
    text = f"# Speed compared with plain Trainer\n\n{about}\n{table}"
    if ablation:
        text += f"\n# One change after the other\n\n{make_ablation_table(ablation)}\n![]({path.name}.png)\n"
        draw_ablation(ablation, path.with_suffix(".png"))
    with new_file(path.with_suffix(".md")) as part:
        part.write_text(text, encoding="utf-8")


def list_comparisons(freeze: int) -> list[tuple[str, str, str]]:
    """Each comparison: its description, the name of the runs of plain Trainer, the name of ours."""
    comparisons = []
    for some, description in ((freeze, f"{freeze} layers frozen"), ("all", "all layers frozen")):
        plain, ours = f"plain, {some} frozen", f"ours, {some} frozen"
        comparisons += [
            (f"{description}, first run", plain, f"{ours}, first run"),
            (f"{description}, repeated with another learning rate", plain, f"{ours}, repeated run"),
        ]
    return [
        *comparisons,
        ("all layers trained", "plain, 0 frozen", "ours, 0 frozen"),
        ("all layers trained, plain in fp32 with padded texts", "plain, fp32, padded, 0 frozen", "ours, 0 frozen"),
    ]


def group_by_name(runs: list[dict[str, Any]], group: str) -> Groups:
    """The runs of `comparison` or `ablation` by their name, in the order in which they were measured."""
    groups: Groups = {}
    for run in (run for run in runs if run["group"] == group):
        groups.setdefault(run["name"], []).append(run)
    return groups


def compute_median(runs: list[dict[str, Any]], key: str = "training_seconds") -> float:
    return median(run[key] for run in runs)


def make_comparison_table(groups: Groups, freeze: int) -> str:
    """Medians over seeds (accuracy: mean) of plain Trainer and ours, and how many times faster ours is."""
    rows = []
    for description, plain, ours in list_comparisons(freeze):
        if plain in groups and ours in groups:
            one, two = groups[plain], groups[ours]
            accuracy = (mean(run["test_accuracy"] for run in runs) for runs in (one, two))
            cells = [
                description,
                f"{compute_median(one):.1f}",
                f"{compute_median(two):.1f}",
                f"**{compute_median(one) / compute_median(two):.1f}**",
                *(f"{value:.3f}" for value in accuracy),
                *(describe_memory(runs) for runs in (one, two)),
                f"{len(one)} / {len(two)}",
            ]
            rows.append(cells)
    return format_table(COMPARISON_COLUMNS, rows)


def describe_memory(runs: list[dict[str, Any]]) -> str:
    """Median of the peak memory and, where runs used a GPU, of that of the GPU, in MiB."""
    memory = f"{compute_median(runs, 'peak_memory_mb'):,.0f}"
    on_gpu = all("peak_gpu_memory_mb" in run for run in runs)
    return f"{memory}, GPU {compute_median(runs, 'peak_gpu_memory_mb'):,.0f}" if on_gpu else memory


def make_ablation_table(groups: Groups) -> str:
    """One row for each change, compared with the row above and with the first."""
    rows = []
    first = above = None
    for name, runs in groups.items():
        seconds = compute_median(runs)
        first, above = first or seconds, above or seconds
        cells = [
            name,
            f"{seconds:.1f}",
            f"{compute_median(runs, 'samples_per_second'):,.0f}",
            f"{above / seconds:.2f}",
            f"{first / seconds:.1f}",
            f"{compute_median(runs, 'test_accuracy'):.3f}",
            describe_memory(runs),
        ]
        rows.append(cells)
        above = seconds
    return format_table(ABLATION_COLUMNS, rows)


def format_table(columns: Sequence[str], rows: list[list[str]]) -> str:
    """A Markdown table with its numbers aligned to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def draw_ablation(groups: Groups, picture: Path) -> None:
    """Bars of training seconds, on a logarithmic scale."""
    figure = Figure(figsize=(10, 0.45 * len(groups) + 1), layout="constrained")
    axes = figure.subplots()
    seconds = [compute_median(runs) for runs in groups.values()]
    colors = ["tab:orange" if not runs[0]["run"].get("plain") else "tab:blue" for runs in groups.values()]
    bars = axes.barh(list(groups), seconds, color=colors)
    axes.bar_label(bars, [f"{value:.1f} s, {seconds[0] / value:.1f} x" for value in seconds], padding=4)
    axes.set(xscale="log", xlabel="training, seconds (blue: plain Trainer, orange: this pipeline)")
    axes.set_xlim(right=max(seconds) * 6)
    axes.invert_yaxis()
    with new_file(picture) as part:
        figure.savefig(part, format="png", dpi=120)
