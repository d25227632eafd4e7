"""`stages.train` with a last layer that computes all positions, for the row of the ablation that has it so.

python -m benchmarks.whole_last_layer
"""

from stages import train
from stages.lib import halves
from stages.lib.timing import run_stage

if __name__ == "__main__":
    halves.FirstTokenLayer = lambda layer, kind, num_heads: layer
    run_stage("train", train.main)
