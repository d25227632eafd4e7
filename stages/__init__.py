"""The entry points of the pipeline: stages of dvc.yaml and other commands; their parts are in the packages below."""

import gc

# Importing transformers creates millions of objects that are never freed. With Python's threshold of 700, garbage
# collection visits them again and again, which takes one of the six seconds of `import stages.train`.
gc.set_threshold(50_000)
