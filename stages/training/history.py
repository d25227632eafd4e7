"""The history of a training as tables, for DVC's plots, the report and MLflow."""

from pathlib import Path

from stages.core.csv_tables import write_csv


def write_history(history: list[dict[str, float]], training: Path, validation: Path) -> None:
    """Split Trainer's `log_history` into a table of training points and one of validations."""
    train = [row for row in history if "loss" in row]
    valid = [{key.removeprefix("eval_"): value for key, value in row.items()} for row in history if "eval_loss" in row]
    for path, rows, columns in (
        (training, train, ("step", "epoch", "loss", "learning_rate", "grad_norm")),
        (validation, valid, ("step", "epoch", "loss", "accuracy", "precision_macro", "recall_macro", "f1_macro")),
    ):
        write_csv(path, columns, ([row[column] for column in columns] for row in rows))
