"""The history of a training as tables, for DVC's plots, the report and MLflow."""

from pathlib import Path

from stages.core.csv_tables import write_csv

TRAINING_COLUMNS = ("step", "epoch", "loss", "learning_rate", "grad_norm")
VALIDATION_COLUMNS = ("step", "epoch", "loss", "accuracy", "precision_macro", "recall_macro", "f1_macro", "best")


def write_history(history: list[dict[str, float]], best_step: float, training: Path, validation: Path) -> None:
    """Split Trainer's `log_history` into a table of training points and a table of validations.

    The column `best` of the second is 1 for the validation at `best_step`, whose weights were saved, else 0.
    """
    points = [row for row in history if "loss" in row]
    validations = [
        {key.removeprefix("eval_"): value for key, value in row.items()} | {"best": int(row["step"] == best_step)}
        for row in history
        if "eval_loss" in row
    ]
    write_table(training, TRAINING_COLUMNS, points)
    write_table(validation, VALIDATION_COLUMNS, validations)


def write_table(path: Path, columns: tuple[str, ...], rows: list[dict[str, float]]) -> None:
    write_csv(path, columns, ([row[column] for column in columns] for row in rows))
