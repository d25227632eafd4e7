"""The entry points of the pipeline: stages of dvc.yaml and other commands; their parts are in the packages below."""

import gc
import os

# Importing transformers creates millions of objects that are never freed. With Python's threshold of 700, garbage
# collection visits them again and again, which takes one of the six seconds of `import stages.train`.
gc.set_threshold(50_000)

# A thread of torch that waits for the others sleeps. By default it spins while it waits, on a core that another process
# needs, such as the sender of MLflow events: beside other work a training took 12 to 21 s, and now 1.7 to 3.1 s; the
# test predictions took 1.5 s, and now 0.5 s. OpenMP reads this when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
