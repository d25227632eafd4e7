"""Measure `models/classifier` on the test split, once, and complete the MLflow run.

python -m stages.evaluate
"""

from pathlib import Path

from stages.lib.encoding import load_splits, read_whole
from stages.lib.files import read_json, write_json
from stages.lib.inputs import prepare_inputs
from stages.lib.metrics import compute_metrics
from stages.lib.models import load_classifier
from stages.lib.params import Params
from stages.lib.reports import write_reports
from stages.lib.timing import measures, read_timings, run_stage
from stages.lib.tokenizer import load_tokenizer
from stages.lib.tracking import log_frozen, log_results, provenance, resume_run
from stages.lib.training import predict_logits, resolve_precision

RAW_TEST, TOKENIZED = Path("data/raw/test.parquet"), Path("data/tokenized")
CLASSIFIER, RUN, STATISTICS = Path("models/classifier"), Path("models/mlflow_run.json"), Path("data/statistics.json")
METRICS, REPORTS, PLOTS = Path("metrics/evaluate.json"), Path("reports"), Path("plots")


def main() -> None:
    params = Params.load()
    data = load_splits(TOKENIZED)
    names, labels = data["test"].features["labels"].names, data["test"].data.column("labels").to_numpy()
    precision = resolve_precision("evaluate.precision", params.evaluate.precision)
    run_id, tags = read_json(RUN, ["run_id"])["run_id"], provenance(read_json(STATISTICS))
    with resume_run(params.tracking, run_id, params.flat(), tags):
        model, tokenizer = load_classifier(CLASSIFIER), load_tokenizer(CLASSIFIER)
        cache = None if params.evaluate.full_model else params.cache
        inputs = prepare_inputs(model, data, ("test",), tokenizer.pad_token_id, precision, cache)
        logits = predict_logits(inputs, "test", params.evaluate)
        metrics = compute_metrics(logits, labels) | {"rows": len(labels)}
        texts = read_whole(RAW_TEST)
        write_reports(logits, labels, names, texts, params.evaluate.num_mistakes, REPORTS, PLOTS)
        write_json(METRICS, metrics)
        log_frozen(inputs.report)
        log_results(
            metrics, read_timings() | measures("evaluate"), [REPORTS, PLOTS, Path("params.yaml"), Path("dvc.lock")]
        )
    print(f"{METRICS}: accuracy {metrics['accuracy']:.4f} on {len(labels):,} test rows; tables in {REPORTS}, {PLOTS}")


if __name__ == "__main__":
    run_stage("evaluate", main)
