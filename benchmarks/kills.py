"""Kill `train` at random moments, let `dvc repro` go on, and compare what comes out with a run that was left alone.

python -m benchmarks.kills [--kills 20] [--seed 0] [--signal KILL]

Works in a temporary clone of this checkout's last commit, with its params.yaml and a checkpoint every second. Prints a
row a kill; exits with 1 if a hash, a curve or the number of MLflow runs differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import mlflow
import psutil
import yaml

from stages.lib.cache import is_whole
from stages.lib.checkpoints import step_of

OUTPUTS = (
    *("models/classifier", "plots/training.csv", "plots/validation.csv"),
    *("metrics/train.json", "metrics/evaluate.json", "reports"),
)


def main() -> None:
    options = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        checkout = Checkout(Path(folder, "checkout"))
        print("a run that is left alone ...", flush=True)
        started = time.monotonic()
        checkout.repro()
        expected, seconds = checkout.outputs(), checkout.seconds_of_train()
        print(f"train took {seconds:.0f} s, the pipeline {time.monotonic() - started:.0f} s", flush=True)
        chance, bad = random.Random(options.seed), 0
        for number in range(1, options.kills + 1):
            checkout.forget()
            checkout.new_runs()
            moment = chance.uniform(0, seconds)
            was = checkout.kill_after(moment, getattr(signal, f"SIG{options.signal}"))
            checkout.repro()
            same, runs = checkout.outputs() == expected, checkout.new_runs()
            bad += not (same and runs == 1)
            verdict = "same bytes" if same else "OTHER BYTES"
            print(f"{number:>3}  killed after {moment:5.1f} s  {was:<32}  {verdict}, {runs} MLflow run", flush=True)
    sys.exit(f"{bad} of {options.kills} went wrong" if bad else 0)


class Checkout:
    """A clone whose stages before `train` are done, with its own store and cache."""

    def __init__(self, folder: Path):
        self.folder, self.known = folder, 0
        subprocess.run(["git", "clone", "--quiet", ".", folder], check=True)
        (folder / "params.yaml").write_bytes(Path("params.yaml").read_bytes())
        hidden = ("DVC_", "MLFLOW_", "PIPELINE_CACHE")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        self.environment |= {"CHECKPOINT_SECONDS": "1", "MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL": "1"}

    def start(self) -> subprocess.Popen:
        log = (self.folder.parent / "log").open("a")
        return subprocess.Popen(
            ["dvc", "repro", "--no-run-cache"], cwd=self.folder, env=self.environment, stdout=log, stderr=log
        )

    def repro(self) -> None:
        if self.start().wait():
            sys.exit((self.folder.parent / "log").read_text()[-3000:])

    def kill_after(self, seconds: float, number: int) -> str:
        """Start `dvc repro`, kill `train` so many seconds after it began; return what it had got to."""
        dvc = self.start()
        train = None
        while train is None and dvc.poll() is None:
            train = next((one for one in psutil.Process(dvc.pid).children(True) if is_train(one)), None)
            time.sleep(0.01)
        time.sleep(max(0, train.create_time() + seconds - time.time()))
        with suppress(psutil.NoSuchProcess):
            train.send_signal(number)
        dvc.wait()
        found = sorted((self.folder / ".cache/checkpoints").glob("*/checkpoint-*"), key=step_of)
        names = [f"{step_of(path)}{' cut off' * (not is_whole(path))}" for path in found]
        return f"checkpoints {', '.join(names) or 'none'}"

    def forget(self) -> None:
        """Make DVC know nothing of an earlier training; outputs of frozen layers stay kept."""
        lock = yaml.safe_load((self.folder / "dvc.lock").read_text())
        lock["stages"] = {name: stage for name, stage in lock["stages"].items() if name not in ("train", "evaluate")}
        (self.folder / "dvc.lock").write_text(yaml.safe_dump(lock))

    def outputs(self) -> dict[str, str]:
        """DVC's hashes of what must be the same."""
        stages = yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"]
        found = {out["path"]: out["md5"] for name in ("train", "evaluate") for out in stages[name]["outs"]}
        return {path: found[path] for path in OUTPUTS}

    def seconds_of_train(self) -> float:
        return json.loads((self.folder / "metrics/timings/train.json").read_text())["train_seconds"]

    def new_runs(self) -> int:
        """MLflow runs since the last look, all of which must be finished."""
        mlflow.set_tracking_uri(f"sqlite:///{self.folder}/mlruns/mlflow.db")
        runs = mlflow.search_runs(search_all_experiments=True, output_format="list")
        new, self.known = len(runs) - self.known, len(runs)
        return new if all(run.info.status == "FINISHED" for run in runs) else -1


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
