"""Where the stages read and write, relative to the folder of `dvc.yaml`, which declares the same paths.

`stages.core.files` has the paths outside of it: the main checkout and the cache folder.
"""

from pathlib import Path

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")

# download
RAW = Path("data/raw")
MANIFEST = RAW / "dataset.json"
SOURCE_LINKS = Path("data/source")
# base_model
BASE = Path("models/base")
MODEL_SOURCE = Path("models/source")
# preprocess
TOKENIZED = Path("data/tokenized")
TOKENIZER = TOKENIZED / "tokenizer"
STATISTICS = Path("data/statistics.json")
# train
CLASSIFIER = Path("models/classifier")
RUN = Path("models/mlflow_run.json")  # the key of the MLflow run that `train` opened
TRAIN_METRICS = Path("metrics/train.json")
TRAINING_CURVE = Path("plots/training.csv")
VALIDATION_CURVE = Path("plots/validation.csv")
# export, which no stage reads
EXPORTED = Path("models/onnx")
# evaluate
TEST_METRICS = Path("metrics/evaluate.json")  # all of them
TEST_HEADLINES = Path("metrics/test.json")  # those that DVC compares
REPORTS = Path("reports")
PLOTS = Path("plots")
PREDICTIONS = REPORTS / "predictions.csv"
# studies, which no stage reads
STUDY_REPORTS = REPORTS / "studies"
SEED_SPREAD = STUDY_REPORTS / "seeds.json"  # which report and gate read, where it is of the same data and params
LABEL_ISSUES = REPORTS / "label_issues.csv"
LABEL_SUMMARY = STUDY_REPORTS / "label_issues.json"  # which the report reads
# drift, which no stage reads
DRIFT = REPORTS / "drift.json"
# all of them
TIMINGS = Path("metrics/timings")
SECONDS = TIMINGS / "seconds.csv"
