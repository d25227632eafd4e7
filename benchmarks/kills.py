"""Kill `train` at random moments, let `dvc repro` resume it, and compare the outputs with those of undisturbed runs.

python -m benchmarks.kills [--kills 20] [--seed 0] [--signal KILL] [--ranks 2]

Works in a temporary clone of this checkout, with a checkpoint every second. With `--ranks`, torchrun starts so many
processes, and one of them, torchrun or DVC is killed. Prints a row for each kill; the exit code is 1 if a hash or the
number of MLflow runs differs, or a process is left. A kill that comes after `train` has ended is repeated.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

import mlflow
import psutil
import yaml

from stages.core.files import read_json
from stages.core.params import Params
from stages.core.paths import (
    CLASSIFIER,
    LOCK,
    PREDICTIONS,
    TEST_METRICS,
    TIMINGS,
    TRAIN_METRICS,
    TRAINING_CURVE,
    VALIDATION_CURVE,
)
from stages.core.yaml_files import read_yaml
from stages.training.checkpoints import get_step, read_best
from stages.verification.clone import clean_environment, list_local_paths, make_clone, temporary_folder
from stages.verification.outputs import read_outputs

REPEATED = ("train", "evaluate")
OUTPUTS = (CLASSIFIER, TRAINING_CURVE, VALIDATION_CURVE, TRAIN_METRICS, TEST_METRICS, PREDICTIONS)


def main() -> None:
    options = parse_arguments()
    params = Params.load()
    rng = random.Random(options.seed)
    number = signal.Signals[f"SIG{options.signal}"]
    with temporary_folder(keep=False) as folder:
        pipeline = Pipeline(make_clone(folder, list_local_paths(params.data, params.model)), options.ranks)
        print(
            "two undisturbed runs: the first computes the features of frozen layers, the second finds them", flush=True
        )
        pipeline.run_again()
        expected = pipeline.read_hashes()
        pipeline.run_again()
        seconds = read_json(pipeline.folder / TIMINGS / "train.json")["train_seconds"]
        is_same = pipeline.read_hashes() == expected
        print(f"the second: {'same bytes' if is_same else 'OTHER BYTES'}, train {seconds:.0f} s")
        wrong = 0 if is_same else 1
        for kill in range(1, options.kills + 1):
            killed = pipeline.kill_at_random(rng, seconds, number)
            pipeline.start().wait()
            is_same = pipeline.read_hashes() == expected
            statuses = ", ".join(run.info.status for run in pipeline.list_runs()[killed.runs_before :])
            if not is_same or statuses != "FINISHED" or killed.left:
                wrong += 1
            verdict = f"{'same bytes' if is_same else 'OTHER BYTES'}, MLflow runs: {statuses}"
            verdict += f", {killed.left} PROCESSES LEFT" * (killed.left > 0)
            row = f"{kill:>3}  {killed.victim:<8} killed after {killed.seconds:5.1f} s  {killed.reached:<32}  {verdict}"
            print(row, flush=True)
    sys.exit(f"{wrong} of {options.kills + 1} went wrong" if wrong else 0)


class Kill(NamedTuple):
    """A `train` that was killed before its end."""

    seconds: float  # after its start
    victim: str
    reached: str  # the checkpoints that it had written
    runs_before: int  # MLflow runs when it was started
    left: int  # processes that still ran half a minute later


class Pipeline:
    """A clone with its own MLflow store and caches."""

    def __init__(self, folder: Path, ranks: int):
        self.folder, self.ranks = folder, ranks
        self.log = folder.parent / "log"
        self.environment = clean_environment(folder) | {"CHECKPOINT_SECONDS": "1"}
        if ranks > 1:
            launch = f"torchrun --standalone --nproc_per_node {ranks}"
            self.environment |= {"LAUNCH": launch, "OMP_NUM_THREADS": "1"}

    def start(self) -> subprocess.Popen:
        with self.log.open("a") as log:
            return subprocess.Popen(
                ["dvc", "repro", "--no-run-cache"], cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )

    def run_again(self) -> None:
        """Train and evaluate, also when DVC knows the results; cached features are kept."""
        self.forget_results()
        if self.start().wait():
            self.exit_with_log()

    def exit_with_log(self) -> NoReturn:
        sys.exit(self.log.read_text()[-3000:])

    def kill_at_random(self, rng: random.Random, longest: float, number: signal.Signals) -> Kill:
        """Start `train` and kill it at a random moment, until it was killed before its end."""
        while True:
            seconds, number_of_victim = rng.uniform(0, longest), rng.randrange(self.ranks + 2)
            runs_before = len(self.list_runs())
            self.forget_results()
            dvc = self.start()
            processes = self.wait_for_train(dvc)
            names = (
                ["train"] if self.ranks == 1 else [*(f"rank {rank}" for rank in range(self.ranks)), "torchrun", "dvc"]
            )
            victim = number_of_victim % len(names)
            with suppress(psutil.NoSuchProcess):
                time.sleep(max(0, processes[0].create_time() + seconds - time.time()))
                [*processes, psutil.Process(dvc.pid)][victim].send_signal(number)
            if dvc.wait() != 0:
                left = psutil.wait_procs(processes, timeout=30)[1]
                return Kill(seconds, names[victim], self.list_checkpoints(), runs_before, len(left))

    def list_checkpoints(self) -> str:
        found = sorted((self.folder / ".cache/checkpoints").glob("*/checkpoint-*"), key=get_step)
        names = [f"{get_step(path)}{'' if read_best(path) else ' incomplete'}" for path in found]
        return f"checkpoints {', '.join(names) or 'none'}"

    def wait_for_train(self, dvc: subprocess.Popen) -> list[psutil.Process]:
        """Poll until the processes of `train` have started: the ranks in their order, and what launched them."""
        while dvc.poll() is None:
            found = [process for process in psutil.Process(dvc.pid).children(recursive=True) if is_train(process)]
            if len(found) == self.ranks:
                found.sort(key=lambda process: int(process.environ().get("RANK", 0)))
                return found if self.ranks == 1 else [*found, *found[0].parents()[:1]]
            time.sleep(0.01)
        self.exit_with_log()

    def forget_results(self) -> None:
        """Remove `train` and `evaluate` from the lock, so that DVC runs them again."""
        path = self.folder / LOCK
        if path.exists():
            lock = read_yaml(path)
            for stage in REPEATED:
                lock["stages"].pop(stage, None)
            path.write_text(yaml.safe_dump(lock))

    def read_hashes(self) -> dict[Path, str | None]:
        """DVC's hashes of the outputs that must be the same; None for one that the lock does not have."""
        outputs = read_outputs(self.folder / LOCK)
        return {path: outputs[str(path)].checksum if str(path) in outputs else None for path in OUTPUTS}

    def list_runs(self) -> list[mlflow.entities.Run]:
        """All MLflow runs, oldest first."""
        mlflow.set_tracking_uri(f"sqlite:///{self.folder}/mlruns/mlflow.db")
        return mlflow.search_runs(search_all_experiments=True, order_by=["attributes.start_time"], output_format="list")


def is_train(process: psutil.Process) -> bool:
    try:
        command = process.cmdline()
        return command[-2:] == ["-m", "stages.train"] and not any("torchrun" in part for part in command)
    except psutil.Error:
        return False


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT"), default="KILL")
    return parser.parse_args()


if __name__ == "__main__":
    main()
