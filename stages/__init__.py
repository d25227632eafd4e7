"""The entry points of the pipeline, one a stage of dvc.yaml; their parts are in `stages.lib`."""

import gc

# Importing transformers makes millions of objects that stay: with Python's threshold of 700 the collector walks them
# over and over, which takes one of the six seconds of `import stages.train`.
gc.set_threshold(50_000)
