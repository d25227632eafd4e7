"""Runs programs on pretended GPUs, or with REAL_GPU=1 on those of the machine, in processes of their own."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.pretended_gpu.library import build_library, find_obstacle
from support.project import ROOT

IS_REAL = os.environ.get("REAL_GPU") == "1"
REMOVED_VARIABLES = ("CUDA_VISIBLE_DEVICES", "DVC_", "MLFLOW_", "PIPELINE_", "PRETENDED_", "VISIBLE_GPUS")


def hide_gpus() -> None:
    """Hide the GPUs from this process and from those that it starts, before CUDA starts; `run_on_gpu` shows them again.

    So all other tests give on a machine with a GPU what they give without one.
    """
    os.environ.setdefault("VISIBLE_GPUS", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


@cache
def find_real_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may name, found by another process, so that CUDA does not start in this one."""
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    visible = environment["VISIBLE_GPUS"]
    if visible != "all":
        environment["CUDA_VISIBLE_DEVICES"] = visible
    code = "import torch; print(torch.cuda.device_count())"
    count = int(subprocess.check_output([sys.executable, "-c", code], env=environment))
    return (list(map(str, range(count))) if visible == "all" else visible.split(","))[:count]


def require_gpus(count: int) -> None:
    """Skip the test where there are not so many GPUs, pretended or real; build the library that pretends them."""
    if IS_REAL:
        if len(find_real_gpus()) < count:
            pytest.skip(f"REAL_GPU=1 needs {count} GPUs, and torch finds {len(find_real_gpus())}")
    elif obstacle := find_obstacle():
        pytest.skip(f"no pretended GPU: {obstacle}")
    else:
        build_library()


def require_real_gpu() -> None:
    if not IS_REAL:
        pytest.skip("only a real GPU can answer it: make test-gpu")
    require_gpus(1)


def run_on_gpu(folder: Path, module: str, *arguments: str, gpus: int = 1, **variables: str) -> str:
    """Run `python -m MODULE ARGUMENTS` in a workspace, as on a machine with so many GPUs; return its standard output.

    `variables` are added to the environment. Those of the pretended GPU, such as PRETENDED_GPU_BYTES, have no effect
    on real ones.
    """
    require_gpus(gpus)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(REMOVED_VARIABLES)}
    if IS_REAL:
        program = [module, *arguments]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(find_real_gpus()[:gpus])
    else:
        program = ["support.pretended_gpu", module, *arguments]
        environment["PRETENDED_GPUS"] = str(gpus)
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)]), "DVC_ROOT": str(folder)}
    result = subprocess.run(
        [sys.executable, "-m", *program],
        env=environment | variables, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, (result.stdout + result.stderr)[-5000:]
    return result.stdout


def run_checks(folder: Path, module: str, *names: str, **options: Any) -> dict[str, Any]:
    """What the checks of a program with these names found; see `support.gpu_programs`."""
    return json.loads(run_on_gpu(folder, module, *names, **options).splitlines()[-1])


def get_result(results: dict[str, Any], name: str) -> Any:
    """The result of one check; AssertionError with its traceback when it failed."""
    assert "error" not in results[name], results[name]["error"]
    return results[name]["result"]
