"""Measure `models/classifier` on the test split, once, and complete the MLflow run.

python -m stages.evaluate
"""

from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from stages.core.cpu_slots import own_cores
from stages.core.files import read_json, write_json
from stages.core.hardware import resolve_precision
from stages.core.params import Params
from stages.core.stage import measures, read_timings, run_stage
from stages.evaluation.metrics import compute_test_metrics
from stages.model.classifier import load_classifier
from stages.report.curves import write_seconds
from stages.report.html import write_report
from stages.report.summary import summarize
from stages.report.tables import write_reports
from stages.text.encoding import load_splits, read_whole
from stages.text.tokenizer import load_tokenizer
from stages.text.windows import document_labels, document_lengths, documents_of
from stages.tracking.provenance import provenance
from stages.tracking.run import log_frozen, log_model, log_results, resume_run
from stages.training.checkpoints import remove_finished
from stages.training.inputs import prepare_inputs
from stages.training.trainer import predict_logits

RAW_TEST, TOKENIZED = Path("data/raw/test.parquet"), Path("data/tokenized")
MANIFEST = Path("data/raw/dataset.json")
CLASSIFIER, RUN, STATISTICS = Path("models/classifier"), Path("models/mlflow_run.json"), Path("data/statistics.json")
HISTORY = (Path("plots/training.csv"), Path("plots/validation.csv"))
METRICS, TRAINED = Path("metrics/evaluate.json"), Path("metrics/train.json")
STATISTICS_KEYS = ("raw_sha256", "tokenized_sha256", "splits", "dropped", "leaks")
REPORTS, PLOTS, SECONDS = Path("reports"), Path("plots"), Path("metrics/timings/seconds.csv")


def main() -> None:
    params = Params.load()
    data = load_splits(TOKENIZED)
    labels = document_labels(data["test"])
    precision = resolve_precision("evaluate.precision", params.evaluate.precision)
    parameters = read_json(TRAINED, ["trainable_parameters", "total_parameters"])
    statistics, manifest = read_json(STATISTICS, STATISTICS_KEYS), read_json(MANIFEST, ["source"])
    key, tags = read_json(RUN, ["run"])["run"], provenance(statistics, params.flat())
    remove_finished(key)
    with resume_run(params.tracking, key, params.flat(), tags, HISTORY) as run:
        model, tokenizer = load_classifier(CLASSIFIER), load_tokenizer(CLASSIFIER)
        log_model(run, CLASSIFIER / "model.safetensors", parameters)
        cache = None if params.evaluate.full_model else params.cache
        with own_cores():
            inputs = prepare_inputs(model, data, ("test",), tokenizer.pad_token_id, precision, cache)
            logits = predict_logits(inputs, "test", params.evaluate)
        log_frozen(run, inputs.report)
        metrics, results = compute_test_metrics(logits, labels), write_tables(logits, data["test"], tokenizer, params)
        write_json(METRICS, metrics)
        timings = read_timings() | measures("evaluate")
        write_seconds(timings, SECONDS)
        write_report(
            REPORTS, results, HISTORY, tags, metrics=metrics, parameters=parameters, params=params.flat(),
            statistics=statistics, manifest=manifest, precision=precision, timings=timings,
        )  # fmt: skip
        log_results(run, metrics, timings, [REPORTS, PLOTS, Path("params.yaml"), Path("dvc.lock")])
    print(f"{METRICS}: accuracy {metrics['accuracy']:.4f} on {len(labels):,} test rows; more in {REPORTS}/report.html")


def write_tables(
    logits: np.ndarray, test: Dataset, tokenizer: PreTrainedTokenizerBase, params: Params
) -> dict[str, Any]:
    """Write the tables and plots of the test split, and return what the report tells of it."""
    names, texts, count = test.features["labels"].names, read_whole(RAW_TEST), params.evaluate.num_mistakes
    labels, windows = document_labels(test), test.data.column("length").to_numpy()
    lengths = document_lengths(windows, documents_of(test), tokenizer)
    write_reports(logits, labels, names, texts, count, REPORTS, PLOTS)
    return summarize(logits, labels, names, lengths, texts, count, params.seed)


if __name__ == "__main__":
    run_stage("evaluate", main)
