"""Measure the training time of the pipeline and of plain `transformers.Trainer`, and the effect of each change.

python -m benchmarks.speed [--data aclImdb_v1.tar.gz]

Every measurement is a process of its own, one at a time and in turn: `python -m stages.train` and
`benchmarks/plain_trainer.py`. "Training" is the time of `Trainer.train()` with its validations, and ours includes the
time to cache features; the start of Python and loading the model are in neither. Measurements are saved as JSON after
each run, so that an interrupted benchmark resumes.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import psutil
import torch
import yaml

from benchmarks.speed_tables import write_tables
from stages.core.files import read_json, write_json
from stages.core.hardware import cpu_name, gpu_name
from stages.core.yaml_files import read_yaml
from stages.tracking.mlflow_store import connect, find_experiment
from stages.tracking.store_uri import read_store_uri

RESULTS, EXPERIMENT = Path("benchmarks/results"), "speed benchmark"
TEST_ROWS = {"ablation": 1000}  # at most, where only the training is measured
# By the number of frozen layers, 5e-4 for all other numbers; repeated runs have another one, as a user would try it.
MEMORY = ("peak_memory_mb", "peak_gpu_memory_mb")
LEARNING_RATES = {0: 5e-5, "all": 5e-3}
REPEATED_LEARNING_RATES = {"all": 3e-3}  # 4e-4 for all other numbers


def main() -> None:
    options = parse_arguments()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif not torch.cuda.is_available():
        sys.exit("--device: found cuda; this machine has no GPU that PyTorch can use")
    bench = Bench(options)
    for group in options.groups:
        for name, seed, run in GROUPS[group](options):
            bench.measure(group, name, seed, run)
            write_tables(bench.results, RESULTS / f"{options.device}-{options.precision}")
    shutil.rmtree(bench.folder / "caches", ignore_errors=True)
    print(f"tables and picture: {RESULTS}; runs: MLflow's experiment '{EXPERIMENT}'")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="IMDB's archive, or one like it (default: the demo corpus)")
    parser.add_argument("--model", help="a hub id or folder (default: the model of params.yaml)")
    parser.add_argument("--freeze", type=int, default=5, help="frozen layers, in runs that freeze some")
    parser.add_argument(
        "--train-rows", type=int, default=5000, help="of the comparison; a ninth more is for validation"
    )
    parser.add_argument("--test-rows", type=int, default=2000)
    parser.add_argument("--ablation-rows", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS), help="what to measure")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp16"), help="in runs that are not fp32")
    parser.add_argument(
        "--folder", type=Path, default=Path(".cache/benchmark"), help="for data, models and measurements"
    )
    return parser.parse_args()


def list_comparison_runs(options: argparse.Namespace) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Name, seed and settings of each run of the comparison; plain and ours in turn."""
    low = {"precision": options.precision}
    for seed in range(options.seeds):
        for freeze in (options.freeze, "all"):
            frozen = low | {"freeze": freeze}
            cached = frozen | {"cache": f"{freeze}-{seed}"}
            repeated = {"learning_rate": REPEATED_LEARNING_RATES.get(freeze, 4e-4)}
            yield f"plain, {freeze} frozen", seed, frozen | {"plain": True}
            yield f"ours, {freeze} frozen, first run", seed, cached
            yield f"ours, {freeze} frozen, repeated run", seed, cached | repeated
        yield "plain, 0 frozen", seed, low | {"plain": True, "freeze": 0}
        yield "ours, 0 frozen", seed, low | {"freeze": 0}
    yield "plain, fp32, padded, 0 frozen", 0, {"plain": True, "freeze": 0, "precision": "fp32", "pad": True}


def list_ablation_runs(options: argparse.Namespace) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Name, seed and settings of each row of the ablation; each row makes one change more."""
    run: dict[str, Any] = {"plain": True, "rows": "ablation", "freeze": 0, "precision": "fp32", "pad": True}
    for name, added in (
        ("fp32, batch 8, 256 tokens, padded, all layers trained", {"length": 256, "batch": 8}),
        ("batch 32", {"batch": 32}),
        ("128 tokens", {"length": 128}),
        ("dynamic padding, length groups", {"pad": False, "groups": True}),
        ("2 workers, pinned memory", {"workers": 2}),
        (f"AMP ({options.precision})", {"precision": options.precision}),
        (f"{options.freeze} layers frozen", {"freeze": options.freeze}),
        ("cached features (ours from here on)", {"plain": False, "workers": 0, "cache": "full", "full": True}),
        ("last layer computes only the first token", {"cache": "ablation", "full": False}),
        ("repeated run, other learning rate", {"learning_rate": 4e-4}),
    ):
        run = run | added
        yield name, 0, run


GROUPS = {"comparison": list_comparison_runs, "ablation": list_ablation_runs}


class Bench:
    """The measurements, which are saved in a folder, and the workspaces in which they are made."""

    def __init__(self, options: argparse.Namespace):
        digest = hashlib.sha256(repr(describe_conditions(options)).encode()).hexdigest()[:8]
        self.options, self.folder = options, options.folder.resolve() / digest
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = self.folder / f"{options.device}-{options.precision}.json"
        self.results: dict[str, Any] = {"about": describe_conditions(options), "freeze": options.freeze, "runs": []}
        if self.file.exists():
            self.results = read_json(self.file)

    def measure(self, group: str, name: str, seed: int, run: dict[str, Any]) -> None:
        """Take one measurement, unless it was taken before; save it, and log it to MLflow."""
        if any((done["group"], done["name"], done["seed"]) == (group, name, seed) for done in self.results["runs"]):
            return
        print(f"{group}: {name}, seed {seed} ...", flush=True)
        workspace = self.prepare_workspace(run.get("rows", "train"), run.get("length", 128))
        defaults = {"batch": 32, "epochs": 2, "learning_rate": LEARNING_RATES.get(run["freeze"], 5e-4)}
        measured = (self.run_plain if run.get("plain") else self.run_ours)(workspace, defaults | run, seed)
        print("   " + ", ".join(f"{key} {value:.4g}" for key, value in measured.items()), flush=True)
        self.results["runs"].append({"group": group, "name": name, "seed": seed, "run": run} | measured)
        write_json(self.file, self.results)
        experiment_id = find_experiment(connect(read_store_uri()), EXPERIMENT)
        with mlflow.start_run(experiment_id=experiment_id, run_name=f"{group}: {name}"):
            mlflow.log_params(defaults | run | {"seed": seed} | self.results["about"])
            mlflow.log_metrics(measured)

    def prepare_workspace(self, rows: str, length: int) -> Path:
        """A folder after `preprocess`, as `dvc repro preprocess` would leave it."""
        folder = self.folder / f"{rows}-{length}"
        if not (folder / "data/statistics.json").exists():
            train = vars(self.options)[f"{rows}_rows"]
            test = min(self.options.test_rows, TEST_ROWS.get(rows, sys.maxsize))
            # A tenth of the samples is for validation.
            data = {"max_train_samples": round(train / 0.9), "max_test_samples": test, "validation_fraction": 0.1}
            if self.options.data:
                source = "csv" if self.options.data.suffix == ".csv" else "folder"
                data |= {"source": source, "path": str(self.options.data.resolve()), "sha256": None}
            write_params(folder, {"data": data, "preprocess": {"max_length": length}, "model": self.get_model_params()})
            for stage in ("download", "base_model", "preprocess"):
                run_python(folder, "-m", f"stages.{stage}")
        return folder

    def get_model_params(self) -> dict[str, Any]:
        name = self.options.model
        return {"name": str(Path(name).resolve()) if Path(name).is_dir() else name, "revision": None} if name else {}

    def run_plain(self, folder: Path, run: dict[str, Any], seed: int) -> dict[str, float]:
        """One run of `benchmarks/plain_trainer.py`."""
        arguments = {
            "freeze": run["freeze"],
            "precision": run["precision"],
            "pad-to": run.get("length", 128) if run.get("pad") else 0,
            "batch-size": run["batch"],
            "epochs": run["epochs"],
            "learning-rate": run["learning_rate"],
            "workers": run.get("workers", 0),
            "device": self.options.device,
            "seed": seed,
        }
        words = [word for key, value in arguments.items() for word in (f"--{key}", str(value))]
        words += ["--group-by-length"] if run.get("groups") else []
        run_python(folder, "-m", "benchmarks.plain_trainer", str(folder), str(folder / "result.json"), *words)
        result = read_json(folder / "result.json")
        return self.compute_speed(folder, run, result["training_seconds"]) | result

    def run_ours(self, folder: Path, run: dict[str, Any], seed: int) -> dict[str, float]:
        """One run of the stages `train` and `evaluate`."""
        train = {
            "freeze_layers": run["freeze"],
            "precision": run["precision"],
            "per_device_train_batch_size": run["batch"],
            "num_train_epochs": run["epochs"],
            "learning_rate": run["learning_rate"],
            "eval_steps": 1 / run["epochs"] if run["epochs"] > 1 else 0.999,
            "metric_for_best_model": "loss",  # the default of TrainingArguments
        }
        tracking = {"log_model": False, "system_metrics": False}
        write_params(folder, {"seed": seed, "train": train, "tracking": tracking})
        cache = str(self.folder / "caches" / run.get("cache", "none"))
        if not any(done["run"].get("cache", "none") == run.get("cache", "none") for done in self.results["runs"]):
            shutil.rmtree(cache, ignore_errors=True)  # left by an interrupted first run
        run_python(folder, "-m", "benchmarks.full_last_layer" if run.get("full") else "stages.train", cache=cache)
        timings = read_json(folder / "metrics/timings/train.json")
        seconds = timings["train_loop_seconds"] + timings["train_frozen_seconds"]
        measured = self.compute_speed(folder, run, seconds) | {"frozen_seconds": timings["train_frozen_seconds"]}
        if run.get("evaluate", True):
            run_python(folder, "-m", "stages.evaluate", cache=cache)
            measured["test_accuracy"] = read_json(folder / "metrics/evaluate.json")["accuracy"]
        return measured | {name: timings[f"train_{name}"] for name in MEMORY if f"train_{name}" in timings}

    def compute_speed(self, folder: Path, run: dict[str, Any], seconds: float) -> dict[str, float]:
        rows = read_json(folder / "data/statistics.json")["splits"]["train"]["rows"]
        return {"training_seconds": seconds, "samples_per_second": rows * run["epochs"] / seconds}


def write_params(folder: Path, changes: dict[str, Any]) -> None:
    """Write params.yaml with changes to a workspace: of its own params.yaml or, if it has none, of the project's."""
    path = folder / "params.yaml"
    params = read_yaml(path if path.exists() else Path("params.yaml"))
    for key, value in changes.items():
        params[key] = params[key] | value if isinstance(value, dict) else value
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def run_python(folder: Path, *arguments: str, cache: str = "") -> None:
    """Run Python in a workspace; its output is shown only when it fails."""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd()), "DVC_ROOT": str(folder)}
    environment.pop("GOMP_SPINCOUNT", None)  # importing `stages` set it here; plain Trainer keeps the default
    environment |= {"PIPELINE_CACHE": cache} if cache else {}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def describe_conditions(options: argparse.Namespace) -> dict[str, str]:
    """Hardware, versions, data and settings of the measurements."""
    names = ("torch", "transformers", "accelerate", "tokenizers")
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    return {
        "hardware": f"{psutil.cpu_count()} cores of {cpu_name()}, {memory}, {gpu_name() or 'no GPU used'}",
        "versions": f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names),
        "data": options.data.name if options.data else "the demo corpus",
        "model": Path(options.model).name if options.model else read_yaml(Path("params.yaml"))["model"]["name"],
        "rows": f"comparison {options.train_rows:,} to train on, {options.test_rows:,} to test on; "
        f"ablation {options.ablation_rows:,} and at most {TEST_ROWS['ablation']:,}",
        "runs": f"{options.seeds} seeds (fp32: 1), batches of 32, 2 epochs, 128 tokens, "
        f"{options.precision} where not fp32",
    }


if __name__ == "__main__":
    main()
