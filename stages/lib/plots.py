"""Tables for DVC's plots, and the same as pictures."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from stages.lib.errors import UserError
from stages.lib.files import new_file

matplotlib.use("Agg")  # draws without a screen


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table with Unix line ends."""
    with new_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_history(history: list[dict[str, float]], training: Path, validation: Path) -> None:
    """Split Trainer's `log_history` into a table of training points and one of validations."""
    train = [row for row in history if "loss" in row]
    valid = [{key.removeprefix("eval_"): value for key, value in row.items()} for row in history if "eval_loss" in row]
    for path, rows, columns in (
        (training, train, ("step", "epoch", "loss", "learning_rate", "grad_norm")),
        (validation, valid, ("step", "epoch", "loss", "accuracy", "precision_macro", "recall_macro", "f1_macro")),
    ):
        write_csv(path, columns, ([row[column] for column in columns] for row in rows))


def write_seconds(timings: dict[str, float], path: Path) -> None:
    """Write the seconds of each stage as a table; each is in the timings as `<stage>_seconds`."""
    stages = ("download", "base_model", "preprocess", "train", "evaluate")
    rows = ((stage, timings[f"{stage}_seconds"]) for stage in stages if f"{stage}_seconds" in timings)
    write_csv(path, ("stage", "seconds"), rows)


def draw_curves(training: Path, validation: Path, picture: Path) -> None:
    """Draw loss and validation accuracy by step."""
    from matplotlib.figure import Figure

    train, valid = read_rows(training), read_rows(validation)
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


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a table of numbers that `train` wrote; UserError when it is missing or broken."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run `dvc repro train`, which makes it.") from None


def points(rows: list[dict[str, float]], name: str) -> tuple[list[float], list[float]]:
    """Steps and values of a curve."""
    return [row["step"] for row in rows], [row[name] for row in rows]


def save(figure: Any, picture: Path) -> None:
    with new_file(picture) as part:
        figure.savefig(part, format="png", dpi=120)
