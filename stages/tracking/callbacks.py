"""Trainer callbacks that log a training's curves to the journal and to TensorBoard while it runs."""

import re
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from stages.core.errors import UserError
from stages.core.files import main_checkout
from stages.tracking.journal import Journal


class RunLogger(TrainerCallback):
    """Logs Trainer's metrics to the run, as `train/...` and `validation/...` by step."""

    def __init__(self, run: Journal):
        self.run = run

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        metrics = {name: value for key, value in (logs or {}).items() if (name := find_metric_name(key))}
        self.run.log_metrics(metrics, state.global_step)


def find_metric_name(key: str) -> str | None:
    """The MLflow name of one of Trainer's logged keys; None for keys that are not shown as a curve."""
    if key in ("loss", "learning_rate", "grad_norm", "epoch"):
        return f"train/{key}"
    if key.startswith("eval_") and not key.endswith(("_runtime", "_per_second", "_time")):
        return f"validation/{key.removeprefix('eval_')}"
    return None


def make_tensorboard_callbacks(enabled: bool, run: Journal) -> list[TrainerCallback]:
    """The callback that writes event files to `mlruns/tensorboard/<run's name>-<first characters of its key>`.

    No callback unless `enabled`; UserError when the package is missing.
    """
    if not enabled:
        return []
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            f"tracking.tensorboard: found true; it needs a package that is missing ({error}). "
            "Run `pip install -c constraints.txt -e '.[tensorboard]'`, or use false."
        ) from None
    folder = re.sub(r"[^\w.=-]+", "-", f"{run.name or 'run'}-{run.key[:6]}")
    return [TensorBoardCallback(SummaryWriter(main_checkout() / "mlruns" / "tensorboard" / folder))]
