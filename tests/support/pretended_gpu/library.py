"""Build the library of the pretended GPU, once for each version of its source and of torch.

This must not import torch, before which the library is loaded.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

HERE = Path(__file__).parent
SOURCES = ("operations.cpp", "device.h")
TORCH = "2.13.0"  # whose internals the source uses
OPTIONS = ("-O0", "-std=c++20", "-fPIC", "-shared", "-DAT_PER_OPERATOR_HEADERS")


def find_obstacle() -> str:
    """Why there can be no pretended GPU here; empty when there can."""
    if sys.platform != "linux":
        return f"it is written for Linux, and this is {sys.platform}"
    if version("torch").partition("+")[0] != TORCH:
        return f"it is written for torch {TORCH}, and this is {version('torch')}"
    if (find_torch() / "lib" / "libtorch_cuda.so").exists():
        return f"it needs a torch without CUDA, and {version('torch')} has it"
    if not shutil.which("g++"):
        return "it needs the compiler g++"
    return ""


def find_torch() -> Path:
    """The folder of the package."""
    spec = find_spec("torch")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent


def build_library() -> Path:
    """The path of the library, which is built when it is not in the user's cache folder."""
    torch = find_torch()
    key = hashlib.sha256(f"{version('torch')} {torch} {OPTIONS}".encode())
    for name in SOURCES:
        key.update((HERE / name).read_bytes())
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "text-classifier-tests"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"pretended_gpu-{key.hexdigest()[:32]}.so"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            part = path.with_suffix(".part")
            compile_library(torch, part)
            part.replace(path)
    return path


def compile_library(torch: Path, path: Path) -> None:
    """Compile and link it, which takes about 10 seconds."""
    include, libraries = torch / "include", torch / "lib"
    subprocess.run(
        [
            *("g++", *OPTIONS, f"-I{include}", f"-I{include}/torch/csrc/api/include", HERE / SOURCES[0], "-o", path),
            *(f"-L{libraries}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{libraries}"),
        ],
        check=True,
    )
