"""The history of a training as tables, for DVC's plots, the report and MLflow."""

from pathlib import Path
from typing import get_args

from stages.core.csv_tables import write_csv
from stages.core.metric_names import Metric

TRAINING_COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm")
FIRST_COLUMNS = ("step", "epoch", "loss")  # of the validations; their metrics follow


def write_history(history: list[dict[str, float]], best_step: float, training: Path, validation: Path) -> None:
    """Write the points and the validations of Trainer's `log_history` as two tables."""
    write_table(training, TRAINING_COLUMNS, list_points(history))
    validations = list_validations(history, best_step)
    write_table(validation, tuple(validations[0]), validations)


def list_points(history: list[dict[str, float]]) -> list[dict[str, float]]:
    """The logged points of the training: rows with `TRAINING_COLUMNS`."""
    return [{column: row[column] for column in TRAINING_COLUMNS} for row in history if "loss" in row]


def list_validations(history: list[dict[str, float]], best_step: float) -> list[dict[str, float]]:
    """The validations: rows with step, epoch, loss, all metrics, and `best`.

    `best` is 1 for the validation at `best_step`, whose weights were kept, else 0.
    """
    validations = [
        {key.removeprefix("eval_"): value for key, value in row.items()} for row in history if "eval_loss" in row
    ]
    # In an order of their own: a history that was read from a checkpoint has them sorted by name.
    known = [name for name in get_args(Metric) if name not in FIRST_COLUMNS]
    metrics = [name for name in known if any(name in row for row in validations)]
    return [
        {column: row[column] for column in (*FIRST_COLUMNS, *metrics)} | {"best": int(row["step"] == best_step)}
        for row in validations
    ]


def write_table(path: Path, columns: tuple[str, ...], rows: list[dict[str, float]]) -> None:
    write_csv(path, columns, (list(row.values()) for row in rows))
