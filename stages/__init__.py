"""The entry points of the pipeline: stages of dvc.yaml and other commands; their parts are in the packages below."""

import gc
import os
import sys

# Importing transformers creates millions of objects that are never freed. With Python's threshold of 700, garbage
# collection visits them again and again, which takes one of the six seconds of `import stages.train`.
gc.set_threshold(50_000)

# A thread of torch that waits for the others spins for a moment, and then sleeps. By default it spins a hundred times
# longer, on a core that another process needs, such as the sender of MLflow events. A training of 1,800 cached rows
# took 2.3 s beside a busy process (3.9 s by default), and 1.1 s on idle cores (1.0 s by default, 1.5 s without any
# spinning); two cores. GNU's OpenMP reads this when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

# Each step of several processes looks for parameters without a gradient, of which some models have some; for all others
# torch warns that this was not needed. It reads this when it is imported.
if os.environ.get("WORLD_SIZE", "1") != "1":
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

if sys.argv[:1] == ["-m"]:  # this is `python -m stages.<name>`, before its module is imported
    from stages.core.warm import hand_over

    hand_over()
