from pathlib import Path

from support import easy_task

from stages.training.progress import describe_validation


def test_a_training_shows_a_line_for_each_validation_and_the_loss_beside_its_bar(
    tiny_model, params, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    trainer, _ = easy_task.train(tiny_model, params, Path(tmp_path), {"train.eval_steps": 8, "train.logging_steps": 4})
    shown = capsys.readouterr()
    validations = [row for row in trainer.state.log_history if "eval_loss" in row]
    assert [line for line in shown.out.splitlines() if line.startswith("step ")] == [
        f"step {row['step']} of {trainer.state.max_steps}: validation loss {row['eval_loss']:.4f}, "
        f"accuracy {row['eval_accuracy']:.4f}"
        for row in validations
    ]
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert f"loss {losses[-1]:.4f}]" in shown.err
    assert "{" not in shown.out


def test_a_loss_that_chooses_is_shown_once():
    assert describe_validation({"eval_loss": 0.5, "eval_accuracy": 1.0}, "loss") == "validation loss 0.5000"
