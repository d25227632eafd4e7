"""What a training shows while it runs: the loss beside the bar of its steps, and a line for each validation."""

from typing import Any

from transformers import Trainer
from transformers.trainer_callback import ProgressCallback


class ShortProgress(ProgressCallback):
    """Trainer's bars, without its lines: each is a dict of all metrics, and there is one for every ten steps."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if self.training_bar is None or logs is None:
            return
        if "loss" in logs:
            self.training_bar.set_postfix_str(f"loss {logs['loss']:.4f}", refresh=False)
        if "eval_loss" in logs:
            line = describe_validation(logs, args.metric_for_best_model)
            self.training_bar.write(f"step {state.global_step:,} of {state.max_steps:,}: {line}")


def describe_validation(logs: dict[str, float], metric: str) -> str:
    """The loss of a validation, and the metric that chooses the best model, where the validation has it."""
    name = f"eval_{metric}"
    chosen = f", {metric} {logs[name]:.4f}" if name in logs and metric != "loss" else ""
    return f"validation loss {logs['eval_loss']:.4f}{chosen}"


def shorten_progress(trainer: Trainer) -> None:
    """Replace Trainer's progress bar; a trainer without one stays silent."""
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(ShortProgress())
