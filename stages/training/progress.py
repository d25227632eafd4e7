"""What a training prints beside the bar of its steps: a short line for each point of its curves."""

from typing import Any

from transformers import Trainer
from transformers.trainer_callback import ProgressCallback


class ProgressLines(ProgressCallback):
    """Trainer's bars. In place of Trainer's lines, dicts of all metrics, it prints what one looks at meanwhile."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        line = describe_point(logs or {}, args.metric_for_best_model)
        if line and self.training_bar is not None:
            self.training_bar.write(f"step {state.global_step}: {line}")


def describe_point(logs: dict[str, float], metric: str) -> str | None:
    """The losses among what Trainer logs, and the metric that chooses the best model; None where it logs no loss."""
    if "eval_loss" in logs:
        chosen = f", {metric} {logs[f'eval_{metric}']:.4f}" if f"eval_{metric}" in logs and metric != "loss" else ""
        return f"validation loss {logs['eval_loss']:.4f}{chosen}"
    return f"loss {logs['loss']:.4f}" if "loss" in logs else None


def print_short_lines(trainer: Trainer) -> None:
    """Replace Trainer's progress bar; a trainer without one stays silent."""
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(ProgressLines())
