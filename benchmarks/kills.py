"""Kill `train` at random moments, let `dvc repro` go on, and compare what comes out with a run that was left alone.

python -m benchmarks.kills [--kills 20] [--seed 0] [--signal KILL]

Works in a temporary clone of this checkout, with a checkpoint every second. Prints a row a kill; exits with 1 if a hash
or the number of MLflow runs differs. A kill that comes too late, when `train` has ended, is tried anew.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import mlflow
import psutil
import yaml

from stages.core.files import read_json
from stages.core.params import Params
from stages.core.yaml_files import read_yaml
from stages.training.checkpoints import read_best, get_step
from stages.verification.clone import clean_environment, make_clone, temporary_folder
from stages.verify import local_paths, read_outputs

STAGES = ("train", "evaluate")
OUTPUTS = (
    *("models/classifier", "plots/training.csv", "plots/validation.csv"),
    *("metrics/train.json", "metrics/evaluate.json", "reports/predictions.csv"),
)


def main() -> None:
    options = parse_arguments()
    with temporary_folder(keep=False) as folder:
        pipeline = Pipeline(make_clone(folder, local_paths(Params.load())))
        print("two runs that are left alone: one computes outputs of frozen layers, one finds them", flush=True)
        pipeline.run_again()
        expected = pipeline.outputs()
        pipeline.run_again()
        seconds = read_json(pipeline.folder / "metrics/timings/train.json")["train_seconds"]
        chance, bad = random.Random(options.seed), int(pipeline.outputs() != expected)
        print(f"the second: {'OTHER BYTES' if bad else 'same bytes'}, train {seconds:.0f} s")
        for number in range(1, options.kills + 1):
            reached = None
            while reached is None:
                moment, before = chance.uniform(0, seconds), len(pipeline.runs())
                reached = pipeline.kill_train(moment, getattr(signal, f"SIG{options.signal}"))
            pipeline.start().wait()
            same, new = pipeline.outputs() == expected, pipeline.runs()[before:]
            statuses = ", ".join(run.info.status for run in new)
            bad += not same or statuses != "FINISHED"
            verdict = f"{'same bytes' if same else 'OTHER BYTES'}, MLflow runs: {statuses}"
            print(f"{number:>3}  killed after {moment:5.1f} s  {reached:<32}  {verdict}", flush=True)
    sys.exit(f"{bad} of {options.kills + 1} went wrong" if bad else 0)


class Pipeline:
    """A clone with its own store and caches."""

    def __init__(self, folder: Path):
        self.folder, self.environment = folder, clean_environment(folder) | {"CHECKPOINT_SECONDS": "1"}

    def start(self) -> subprocess.Popen:
        with (self.folder.parent / "log").open("a") as log:
            return subprocess.Popen(
                ["dvc", "repro", "--no-run-cache"], cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )

    def run_again(self) -> None:
        """Train and evaluate whatever DVC knows of an earlier training; outputs of frozen layers stay kept."""
        self.forget()
        if self.start().wait():
            self.fail()

    def fail(self) -> None:
        sys.exit((self.folder.parent / "log").read_text()[-3000:])

    def kill_train(self, seconds: float, number: int) -> str | None:
        """Begin anew and kill `train` so many seconds after it began; return what it had got to, None if to its end."""
        self.forget()
        dvc = self.start()
        train = None
        while train is None and dvc.poll() is None:
            train = next((one for one in psutil.Process(dvc.pid).children(True) if is_train(one)), None)
            time.sleep(0.01)
        if train is None:
            self.fail()
        with suppress(psutil.NoSuchProcess):
            time.sleep(max(0, train.create_time() + seconds - time.time()))
            train.send_signal(number)
        if dvc.wait() == 0:
            return None
        found = sorted((self.folder / ".cache/checkpoints").glob("*/checkpoint-*"), key=get_step)
        names = [f"{get_step(path)}{' cut off' * (read_best(path) is None)}" for path in found]
        return f"checkpoints {', '.join(names) or 'none'}"

    def forget(self) -> None:
        path = self.folder / "dvc.lock"
        if path.exists():
            lock = read_yaml(path)
            lock["stages"] = {
                stage: entry for stage, entry in lock["stages"].items() if stage not in ("train", "evaluate")
            }
            path.write_text(yaml.safe_dump(lock))

    def outputs(self) -> dict[str, str]:
        """DVC's hashes of what must be the same."""
        return {path: read_outputs(self.folder / "dvc.lock").get(path, ("", ""))[1] for path in OUTPUTS}

    def runs(self) -> list[mlflow.entities.Run]:
        """All MLflow runs, oldest first."""
        mlflow.set_tracking_uri(f"sqlite:///{self.folder}/mlruns/mlflow.db")
        return mlflow.search_runs(search_all_experiments=True, order_by=["attributes.start_time"], output_format="list")


def is_train(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[1:] == ["-m", "stages.train"]
    except psutil.Error:
        return False


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT"), default="KILL")
    return parser.parse_args()


if __name__ == "__main__":
    main()
