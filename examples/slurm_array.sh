#!/usr/bin/env bash
# Experiments as an array job of Slurm. From the checkout, which all hosts see at the same path:
#
#     sbatch --array=0-1 examples/slurm_array.sh train.learning_rate=1e-4 'train.freeze_layers=5 train.learning_rate=1e-3'
#
# Each argument is one experiment: the params that it changes, with spaces between them. --array=0-99%8 runs at most eight
# at once. MLFLOW_TRACKING_URI has to name a server when there are several hosts: docs/scale-out.md.
#SBATCH --job-name=experiments
#SBATCH --output=mlruns/slurm-%A_%a.log
#SBATCH --cpus-per-task=1
# For a GPU each, remove one # here:
##SBATCH --gpus-per-task=1
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
# shellcheck disable=SC1091
. .venv/bin/activate

if (($# <= SLURM_ARRAY_TASK_ID)); then
    echo "there is no experiment $SLURM_ARRAY_TASK_ID: $# were given, and the first is number 0" >&2
    exit 1
fi
settings=("$@")
changes=()
for change in ${settings[SLURM_ARRAY_TASK_ID]}; do
    changes+=(-S "$change")
done
# The last bits of the results depend on the number of threads: it is the same on all hosts.
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
export STAGES_WARM= # the process of `make warm` is not part of the job
# Without --wait-for-lock DVC gives up after three seconds when another experiment is starting.
dvc --wait-for-lock exp run --temp "${changes[@]}"
