"""Tables for DVC's plots, and the same as pictures."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from stages.core.csv_tables import read_numbers, write_csv
from stages.core.files import new_file

matplotlib.use("Agg")  # draws without a screen


def write_seconds(timings: dict[str, float], path: Path) -> None:
    """Write the seconds of each stage as a table; each is in the timings as `<stage>_seconds`."""
    stages = ("download", "base_model", "preprocess", "train", "evaluate")
    rows = ((stage, timings[f"{stage}_seconds"]) for stage in stages if f"{stage}_seconds" in timings)
    write_csv(path, ("stage", "seconds"), rows)


def draw_curves(training: Path, validation: Path, picture: Path) -> None:
    """Draw loss and validation accuracy by step."""
    from matplotlib.figure import Figure

    train, valid = read_numbers(training), read_numbers(validation)
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(*points(train, "loss"), label="training", color="tab:blue")
    loss.plot(*points(valid, "loss"), "o-", label="validation", color="tab:orange")
    accuracy.plot(*points(valid, "accuracy"), "o-", label="accuracy", color="tab:orange")
    accuracy.plot(*points(valid, "f1_macro"), "x--", label="F1, macro", color="tab:green")
    for axes, title in ((loss, "Loss"), (accuracy, "Validation")):
        axes.set(title=title, xlabel="step")
        axes.legend()
        axes.grid(alpha=0.3)
    save(figure, picture)


def draw_confusion(actual: np.ndarray, predicted: np.ndarray, labels: list[str], picture: Path) -> None:
    """Draw the confusion matrix: rows are actual classes, columns predicted ones; numbers only where they fit."""
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

    size = min(3 + 0.7 * len(labels), 14)
    few = len(labels) <= 20
    figure = Figure(figsize=(size + 0.5, size), layout="constrained")
    ConfusionMatrixDisplay.from_predictions(
        actual,
        predicted,
        labels=range(len(labels)),
        display_labels=[label.replace("$", r"\$") for label in labels] if few else None,
        include_values=few,
        cmap="Blues",
        colorbar=False,
        ax=figure.subplots(),
        xticks_rotation=45 if len(labels) > 3 else 0,
    )
    save(figure, picture)


def points(rows: list[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Steps and values of a curve."""
    return [row["step"] for row in rows], [row[name] for row in rows]


def save(figure: Any, picture: Path) -> None:
    with new_file(picture) as part:
        figure.savefig(part, format="png", dpi=120)
