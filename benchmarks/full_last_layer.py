"""`stages.train` with a last layer that computes all positions, for one row of the ablation.

python -m benchmarks.full_last_layer
"""

from unittest.mock import patch

from torch import nn

from stages import train
from stages.core.stage import run_stage
from stages.model import views


def keep_layer(layer: nn.Module, kind: str, num_heads: int) -> nn.Module:
    """Takes the place of `FirstTokenLayer`."""
    return layer


if __name__ == "__main__":
    with patch.object(views, "FirstTokenLayer", keep_layer):
        run_stage("train", train.main)
