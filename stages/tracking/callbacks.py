"""The curves of a training for TensorBoard, where that is wanted."""

import re

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from stages.core.errors import UserError
from stages.core.files import main_checkout
from stages.tracking.journal import Journal


def tensorboard_callbacks(wanted: bool, run: Journal) -> list[TrainerCallback]:
    """What writes event files to `mlruns/tensorboard/<name of the run>-<beginning of its key>`; else nothing."""
    if not wanted:
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
