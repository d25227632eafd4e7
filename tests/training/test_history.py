from stages.core.csv_tables import read_numbers
from stages.training.history import write_history


def test_the_tables_have_the_curves_and_mark_the_validation_that_was_chosen(tmp_path):
    point = {"epoch": 0.5, "loss": 0.7, "learning_rate": 1e-4, "grad_norm": 2.0}
    metrics = {"loss": 0.6, "accuracy": 0.8, "precision_macro": 0.8, "recall_macro": 0.8, "f1_macro": 0.8}
    validation = {"epoch": 0.5, "eval_runtime": 1.0} | {f"eval_{name}": value for name, value in metrics.items()}
    history = [row | {"step": step} for step in (5, 10, 15) for row in (point, validation)]
    write_history([*history, {"step": 15, "train_runtime": 3.0}], 10, tmp_path / "training.csv", tmp_path / "valid.csv")
    assert read_numbers(tmp_path / "training.csv") == [point | {"step": step} for step in (5, 10, 15)]
    validations = read_numbers(tmp_path / "valid.csv")
    assert [(row["step"], row["best"]) for row in validations] == [(5, 0), (10, 1), (15, 0)]
    assert sorted(validations[0]) == sorted(["step", "epoch", *metrics, "best"])


def test_a_history_that_was_read_from_a_checkpoint_gives_the_same_table(tmp_path):
    row = {"epoch": 0.5, "step": 5, "eval_roc_auc": 0.9, "eval_loss": 0.6, "eval_accuracy": 0.8}
    for name, history in (("one", [row]), ("two", [dict(sorted(row.items()))])):
        write_history(history, 5, tmp_path / "training.csv", tmp_path / name)
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()
