"""Experiments as tasks of Ray: each runs `dvc exp run --temp` in the checkout, on cores or a GPU of its own.

    python examples/experiments_on_ray.py --gpus 1 train.learning_rate=1e-4 'train.freeze_layers=5 train.seed=1'

Each argument is one experiment: the params that it changes, with spaces between them. RAY_ADDRESS names a running
cluster, whose hosts see the checkout at the same path; without it Ray starts on this machine. Prints each result, and
ends with exit code 1 if an experiment failed.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import ray


def main() -> int:
    options = read_arguments()
    ray.init(log_to_driver=False)
    task = ray.remote(num_cpus=options.cpus, num_gpus=options.gpus, max_retries=0)(run_experiment)
    running = {task.remote(setting.split(), options.cpus, str(Path.cwd())): setting for setting in options.settings}
    failed = 0
    while running:
        (done,), _ = ray.wait(list(running))
        setting = running.pop(done)
        code, output = ray.get(done)
        failed += code != 0
        print(f"{setting}: exit code {code}\n{output}", flush=True)
    print(f"{failed} of {len(options.settings)} experiments failed")
    return int(failed > 0)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run DVC experiments as tasks of Ray.")
    parser.add_argument("settings", nargs="+", help="'train.freeze_layers=5 train.seed=1'")
    parser.add_argument("--cpus", type=int, default=1, help="cores, and threads, of each experiment (1)")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs of each experiment (0): 0 or 1")
    return parser.parse_args()


def run_experiment(changes: list[str], cpus: int, checkout: str) -> tuple[int, str]:
    """Run an experiment with these changes; return DVC's exit code and the end of its output."""
    # Without --wait-for-lock DVC gives up after three seconds when another experiment is starting.
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "exp", "run", "--temp"]
    command += [part for change in changes for part in ("-S", change)]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # for the `python` in dvc.yaml
        "OMP_NUM_THREADS": str(cpus),  # the same on all hosts: the last bits of the results depend on it
        "STAGES_WARM": "",  # the process of `make warm` does not see the GPU of this task
    }
    done = subprocess.run(
        command, cwd=checkout, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, "\n".join(done.stdout.splitlines()[-10:])


if __name__ == "__main__":
    sys.exit(main())
