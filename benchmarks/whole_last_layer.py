"""`stages.train` with a last layer that computes all positions, for the row of the ablation that has it so.

python -m benchmarks.whole_last_layer
"""

from stages import train
from stages.core.stage import run_stage
from stages.model import partition as halves

if __name__ == "__main__":
    halves.FirstTokenLayer = lambda layer, kind, num_heads: layer
    run_stage("train", train.main)
