"""Eight experiments of DVC's queue, one at a time and two at a time, in a new clone for each number of jobs.

python -m benchmarks.parallel [--jobs 1 2]

Prints for each number of jobs how many seconds the queue took, how many MLflow runs finished, whether they have DVC's
names, how often features of frozen layers were computed, and how often the database was locked for too long.
"""

import argparse
import subprocess
import time
from pathlib import Path

import mlflow

from stages.core.params import Params
from stages.verification.clone import clean_environment, list_local_paths, make_clone, temporary_folder

GRID = {"train.freeze_layers": "3,5", "train.learning_rate": "1e-4,5e-4", "train.weight_decay": "0,0.01"}
SECONDS_BETWEEN_POLLS = 1


def main() -> None:
    arguments = parse_arguments()
    params = Params.load()
    print("jobs  seconds  runs finished  as DVC names them  features computed  database locked")
    for jobs in arguments.jobs:
        with temporary_folder(keep=False) as folder:
            clone = make_clone(folder, list_local_paths(params.data, params.model))
            prepare(clone)
            started = time.monotonic()
            run(clone, "dvc", "queue", "start", "--jobs", str(jobs))
            wait_for_queue(clone)
            print_row(clone, jobs, time.monotonic() - started)


def prepare(clone: Path) -> None:
    """Run the stages before `train`, commit their results, and queue the experiments."""
    run(clone, "git", "fetch", "-q", "--unshallow", str(Path.cwd()))  # DVC's queue cannot use a shallow clone
    run(clone, "dvc", "repro", "-q", "preprocess")
    run(clone, "git", "add", "-A")
    run(clone, "git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "preprocess")
    options = [part for key, values in GRID.items() for part in ("-S", f"{key}={values}")]
    run(clone, "dvc", "exp", "run", "--queue", *options)


def wait_for_queue(clone: Path) -> None:
    while True:
        status = run(clone, "dvc", "queue", "status")
        if "Queued" not in status and "Running" not in status:
            return
        time.sleep(SECONDS_BETWEEN_POLLS)


def print_row(clone: Path, jobs: int, seconds: float) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{clone}/mlruns/mlflow.db")
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    finished = sum(one.info.status == "FINISHED" for one in runs)
    experiments = run(clone, "dvc", "exp", "list", "--name-only").split()
    has_names = {one.info.run_name for one in runs} == set(experiments)
    computed = sum(one.data.metrics["features/train_rows_computed"] > 0 for one in runs)
    locked = (clone / "mlruns/sender.log").read_text().count("database is locked")
    row = f"{jobs:>4}  {seconds:7.0f}  {finished:>4} of {len(runs):<5}  {'yes' if has_names else 'NO':<17}  "
    print(f"{row}{computed:<17}  {locked} times", flush=True)


def run(clone: Path, *command: str) -> str:
    """Run a command in the clone and return what it prints to stdout; SystemExit with all output when it fails."""
    done = subprocess.run(command, cwd=clone, env=clean_environment(clone), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parallel", description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    return parser.parse_args()


if __name__ == "__main__":
    main()
