from pathlib import Path

from support import easy_task

from stages.training.progress import describe_point


def test_a_training_prints_its_losses_and_the_metric_that_chooses(tiny_model, params, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path / "cache"))
    trainer, _ = easy_task.train(tiny_model, params, Path(tmp_path), {"train.eval_steps": 8, "train.logging_steps": 8})
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    logged = {(row["step"], "eval_loss" in row): row for row in trainer.state.log_history}
    assert lines[0] == f"step 8: loss {logged[8, False]['loss']:.4f}"
    chosen = logged[8, True]
    assert lines[1] == f"step 8: validation loss {chosen['eval_loss']:.4f}, accuracy {chosen['eval_accuracy']:.4f}"


def test_a_loss_that_chooses_is_printed_once_and_what_is_no_point_not_at_all():
    assert describe_point({"eval_loss": 0.5, "eval_accuracy": 1.0}, "loss") == "validation loss 0.5000"
    assert describe_point({"train_runtime": 3.0}, "accuracy") is None
