"""The report of a run for people: `report.html`, one file that needs no other, and `report.md` for pull requests."""

import os
import platform
import shlex
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from stages.core.files import new_file
from stages.core.hardware import cpu_name, what_computes
from stages.evaluation.intervals import RESAMPLES
from stages.report.figures import draw_calibration, draw_confusion_map, draw_loss, draw_validation
from stages.report.model_card import code, name_of_source
from stages.report.summary import MOST_CLASSES

TEMPLATES = Path(__file__).parent / "templates"
PAGES = ("report.html", "report.md")
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "scikit-learn", "numpy", "dvc", "mlflow")
METRICS = {
    "accuracy": "Accuracy",
    "f1_macro": "F1, macro",
    "precision_macro": "Precision, macro",
    "recall_macro": "Recall, macro",
    "recall_worst_class": "Recall of the class found worst",
    "loss": "Loss (cross-entropy)",
    "calibration_error": "Expected calibration error",
}


def write_report(
    folder: Path, results: dict[str, Any], history: tuple[Path, Path], tags: Mapping[str, str], **facts: Any
) -> None:
    """Write both pages from what `summarize` found, the curves' tables, the run's tags and the other facts.

    `facts` are metrics, parameters, params, statistics, manifest, precision and timings.
    """
    pictures = {"loss": draw_loss(*history), "validation": draw_validation(history[1])}
    pictures["calibration"] = draw_calibration(results["calibration"])
    if len(results["names"]) > MOST_CLASSES:
        pictures["confusion"] = draw_confusion_map(results["confusion"])
    context = (
        results
        | facts
        | {
            "hardware": hardware(),
            "labels": METRICS,
            "most_classes": MOST_CLASSES,
            "pictures": {name: Markup(picture) for name, picture in pictures.items()},
            "repeat": how_to_repeat(tags),
            "source": name_of_source(facts["manifest"]["source"]),
            "resamples": RESAMPLES,
            "versions": {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        }
    )
    for name in PAGES:
        with new_file(folder / name) as part:
            part.write_text(render(name, context), encoding="utf-8")


def render(name: str, context: dict[str, Any]) -> str:
    """Fill a template; in HTML all values are escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": code, "interval": interval, "seconds": seconds}
    return environment.get_template(name).render(context)


def interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None or ends[0] != ends[0] else f"{ends[0]:.3f}–{ends[1]:.3f}"


def seconds(value: float) -> str:
    if round(value) < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def hardware() -> dict[str, str]:
    """The machine that this process runs on."""
    return {
        "Processor": f"{cpu_name()}, {os.cpu_count()} cores",
        "Computes": what_computes(),
        "Memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "System": platform.platform(),
    }


def how_to_repeat(tags: Mapping[str, str]) -> dict[str, Any]:
    """The commands that repeat the run, and whether they lack something: changes that were not committed."""
    commit, experiment = tags.get("git.commit"), tags.get("dvc.exp_name")
    if not commit:
        return {
            "commands": ["dvc repro"],
            "lacking": "This was no commit of a git repository, so the files of then are needed.",
        }
    if experiment:
        commands, lacking = [f"git checkout {commit}", f"dvc exp apply {shlex.quote(experiment)}", "dvc repro"], ""
    else:
        commands = [f"git checkout {commit}", "dvc repro"]
        dirty = tags.get("git.dirty") == "true"
        lacking = "Files were changed and not committed: this commit alone does not repeat it." if dirty else ""
    return {"commands": commands, "lacking": lacking}
