"""Run a module with pretended GPUs: `python -m support.pretended_gpu MODULE ARGUMENTS`."""

import runpy
import sys

from support.pretended_gpu.library import build_library, find_obstacle
from support.pretended_gpu.torch_cuda import pretend

if __name__ == "__main__":
    obstacle = find_obstacle()
    if obstacle:
        sys.exit(f"no pretended GPU: {obstacle}")
    pretend(build_library())
    module, *sys.argv[1:] = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
