"""Eight experiments from DVC's queue, one after the other and two at once, each time in a new clone.

python -m benchmarks.parallel [--jobs 1 2]

Says for each number of jobs how long the queue took, how many MLflow runs finished under DVC's names, how often outputs
of frozen layers were computed, and how often the database was locked for too long.
"""

import argparse
import subprocess
import time
from pathlib import Path

import mlflow

from stages.core.params import Params
from stages.verification.clone import clean_environment, make_clone, temporary_folder
from stages.verify import local_paths

GRID = {"train.freeze_layers": "3,5", "train.learning_rate": "1e-4,5e-4", "train.weight_decay": "0,0.01"}
SECONDS_BETWEEN_LOOKS = 1


def main() -> None:
    print("jobs  seconds  runs finished  as DVC names them  frozen outputs computed  database locked")
    for jobs in parse_arguments().jobs:
        with temporary_folder(keep=False) as folder:
            clone = make_clone(folder, local_paths(Params.load()))
            run(clone, "git", "fetch", "-q", "--unshallow", str(Path.cwd()))  # for DVC's queue
            run(clone, "dvc", "repro", "-q", "preprocess")
            run(clone, "git", "add", "-A")
            run(clone, "git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "preprocess")
            grid = [part for key, values in GRID.items() for part in ("-S", f"{key}={values}")]
            run(clone, "dvc", "exp", "run", "--queue", *grid)
            started = time.monotonic()
            run(clone, "dvc", "queue", "start", "--jobs", str(jobs))
            while any(state in run(clone, "dvc", "queue", "status") for state in ("Queued", "Running")):
                time.sleep(SECONDS_BETWEEN_LOOKS)
            report(clone, jobs, time.monotonic() - started)


def report(clone: Path, jobs: int, seconds: float) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{clone}/mlruns/mlflow.db")
    runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
    finished = [one for one in runs if one.info.status == "FINISHED"]
    named = {one.info.run_name for one in runs} == set(run(clone, "dvc", "exp", "list", "--name-only").split())
    computed = sum(one.data.metrics["frozen/train_hit"] == 0 for one in runs)
    locked = (clone / "mlruns/sender.log").read_text().count("database is locked")
    row = f"{jobs:>4}  {seconds:7.0f}  {len(finished):>4} of {len(runs):<5}  {'yes' if named else 'NO':<17}  "
    print(f"{row}{computed:<23}  {locked} times", flush=True)


def run(clone: Path, *command: str) -> str:
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
