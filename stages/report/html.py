"""The report of a run for people: `report.html`, one file that needs no other, and `report.md` for pull requests."""

import os
import platform
import shlex
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from markupsafe import Markup

from stages.core.files import new_file
from stages.core.hardware import cpu_name, describe_processor
from stages.core.stage import STAGES
from stages.evaluation.metrics import CALIBRATION_BINS
from stages.evaluation.slices import FEWEST_ROWS
from stages.report.curves import CHARTS, History, draw_curves
from stages.report.decisions import NOTHING_FITTED, Decisions
from stages.report.facts import RunFacts
from stages.report.figures import draw_figures
from stages.report.rendering import name_source, render_template
from stages.report.summary import MOST_CLASSES, Summary

PAGES = ("report.html", "report.md")
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "scikit-learn", "numpy", "dvc", "mlflow")


def write_report(
    folder: Path,
    summary: Summary,
    facts: RunFacts,
    history: History,
    timings: dict[str, float],
    decisions: Decisions = NOTHING_FITTED,
) -> None:
    """Write both pages; `timings` are those of all stages, as `<stage>_seconds` and `<stage>_peak_memory_mb`."""
    figures = draw_curves(history) | draw_figures(summary) | decisions.draw_figures()
    values = vars(facts) | vars(summary)
    values |= {
        "params": facts.shown_params,
        "charts": CHARTS,
        "decisions": decisions,
        "figures": {name: Markup(figure) for name, figure in figures.items()},  # not escaped
        "hardware": describe_hardware(),
        "fewest_rows": FEWEST_ROWS,
        "kind": "label" if summary.is_multi_label else "class",
        "kinds": "labels" if summary.is_multi_label else "classes",
        "most_classes": MOST_CLASSES,
        "num_bins": CALIBRATION_BINS,
        "repeat": describe_repeat(facts.tags),
        "source": name_source(facts.manifest["source"]),
        "stages": [stage for stage in STAGES if f"{stage}_seconds" in timings],
        "timings": timings,
        "versions": {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES},
    }
    for name in PAGES:
        with new_file(folder / name) as part:
            part.write_text(render_template(name, values), encoding="utf-8")


def describe_hardware() -> dict[str, str]:
    """The machine that this process runs on."""
    return {
        "Processor": f"{cpu_name()}, {os.cpu_count()} cores",
        "Computes": describe_processor(),
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "System": platform.platform(),
    }


def describe_repeat(tags: Mapping[str, str]) -> dict[str, Any]:
    """The `commands` that repeat the run, and what is `lacking` for it, such as changes that were not committed."""
    commit = tags.get("git.commit")
    experiment = tags.get("dvc.exp_name")
    if not commit:
        lacking = "The files were in no commit of a git repository, so this needs a copy of them."
        return {"commands": ["dvc repro"], "lacking": lacking}
    if experiment:
        commands = [f"git checkout {commit}", f"dvc exp apply {shlex.quote(experiment)}", "dvc repro"]
        return {"commands": commands, "lacking": ""}
    is_dirty = tags.get("git.dirty") == "true"
    lacking = "Files were changed and not committed, so this commit alone does not repeat the run." if is_dirty else ""
    return {"commands": [f"git checkout {commit}", "dvc repro"], "lacking": lacking}
