"""Measure `models/classifier` on the test split, once, and complete the MLflow run.

python -m stages.evaluate
"""

import sys
from collections.abc import Sequence

import numpy as np
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from stages.core.arguments import refuse_arguments
from stages.core.cpu_slots import reserve_cores
from stages.core.files import new_file, read_json, write_json
from stages.core.gpu_slots import take_gpu
from stages.core.hardware import resolve_precision
from stages.core.params import Params
from stages.core.paths import (
    BASE,
    CLASSIFIER,
    LABEL_SUMMARY,
    LOCK,
    MANIFEST,
    PARAMS,
    PLOTS,
    PREDICTIONS,
    RAW,
    REPORTS,
    RUN,
    SECONDS,
    SEED_SPREAD,
    STATISTICS,
    TEST_HEADLINES,
    TEST_METRICS,
    TOKENIZED,
    TRAIN_METRICS,
    TRAINING_CURVE,
    VALIDATION_CURVE,
)
from stages.core.problem_type import ProblemType
from stages.core.stage import measure_process, read_timings, run_stage
from stages.core.study_files import read_study
from stages.evaluation.metrics import compute_test_metrics, select_headlines
from stages.evaluation.predictions import LabelledPredictions, MultiLabelPredictions
from stages.evaluation.slices import Slice, find_worst_accuracy, measure_slices
from stages.model.classifier import load_classifier
from stages.model.mean_pooling import MODULES_FILE
from stages.report.curves import History, write_curves
from stages.report.decisions import Decisions, describe_decisions
from stages.report.facts import RunFacts
from stages.report.figures import draw_confusion_matrix
from stages.report.html import write_report
from stages.report.model_card import make_card
from stages.report.summary import Summary, describe_one_answer, summarize
from stages.report.tables import (
    write_class_metrics,
    write_confusion,
    write_mistakes,
    write_predictions,
    write_seconds,
    write_slices,
)
from stages.text.encoding import load_splits, read_raw_texts, read_slices
from stages.text.tokenizer import load_tokenizer
from stages.text.windows import count_document_tokens, get_documents
from stages.tracking.journal import Journal
from stages.tracking.provenance import make_run_tags
from stages.tracking.run import confirm_finished, log_feature_cache, log_resolved, log_results, log_weights, resume_run
from stages.training.checkpoints import remove_finished
from stages.training.inputs import prepare_inputs
from stages.training.prediction import RowLogits, predict_rows
from stages.training.settings import read_resolved

STATISTICS_KEYS = ("raw_sha256", "tokenized_sha256", "splits", "dropped", "leaks", "missing_classes")
MANIFEST_KEYS = ("source", "columns", "labels")
TRAIN_KEYS = ("trainable_parameters", "total_parameters", "ranks", "num_train_epochs", "learning_rate")


def main() -> None:
    params = Params.load()
    take_gpu()
    facts = read_facts(params)
    history = History.read(TRAINING_CURVE, VALIDATION_CURVE)
    data = load_splits(TOKENIZED)
    key = read_json(RUN, ["run"])["run"]
    remove_finished(key)
    with resume_run(params.tracking, key, facts.params, facts.tags, (TRAINING_CURVE, VALIDATION_CURVE)) as run:
        log_weights(run, CLASSIFIER, facts.parameters)
        log_resolved(run, facts.resolved)
        tokenizer = load_tokenizer(CLASSIFIER)
        rows = predict_test(data, tokenizer, facts.precision, params, run)
        predictions = rows.predict()
        slices = measure_test_slices(predictions, facts, params.seed)
        metrics = compute_test_metrics(predictions) | find_worst_accuracy(slices)
        write_metrics(metrics, predictions.problem_type)
        texts = read_raw_texts(RAW / "test.parquet")
        lengths = count_test_tokens(data["test"], tokenizer)
        summary = summarize(predictions, metrics, lengths, texts, params.evaluate.num_mistakes, params.seed, slices)
        decisions = describe_decisions(rows.predict, facts.parameters.get("temperature"))
        write_tables(predictions, slices, texts, params.evaluate.num_mistakes)
        write_curves(history, PLOTS / "curves.png")
        write_card(summary, facts, history, tokenizer, decisions)
        timings = read_timings() | measure_process("evaluate")
        write_seconds(timings, SECONDS)
        write_report(REPORTS, summary, facts, history, timings, decisions)
        log_results(run, metrics, timings, [REPORTS, PLOTS, PARAMS, LOCK])
    name = "f1_micro" if summary.is_multi_label else "accuracy"
    results = f"{name} {metrics[name]:.4f} on {metrics['rows']:,} test rows"
    print(f"{TEST_METRICS}: {results}; more in {REPORTS}/report.html")
    if (advice := describe_one_answer(predictions)) is not None:
        print(f"warning: {advice}", file=sys.stderr)


def read_facts(params: Params) -> RunFacts:
    """What earlier stages wrote about the data and the model; UserError when a file is missing or broken."""
    statistics = read_json(STATISTICS, STATISTICS_KEYS)
    trained = read_json(TRAIN_METRICS, TRAIN_KEYS)
    studied = params.flat_train(), statistics["tokenized_sha256"]
    return RunFacts(
        params=params.flat(),
        tags=make_run_tags(statistics, params.flat()),
        base=read_json(BASE / "origin.json"),
        manifest=read_json(MANIFEST, MANIFEST_KEYS),
        statistics=statistics,
        parameters=trained,
        precision=resolve_precision("evaluate.precision", params.evaluate.precision),
        resolved=read_resolved(trained, CLASSIFIER),
        library="sentence-transformers" if (CLASSIFIER / MODULES_FILE).is_file() else "transformers",
        seeds=read_study(SEED_SPREAD, ("count", "metrics"), *studied),
        label_issues=read_study(LABEL_SUMMARY, ("issues", "rows", "first"), *studied),
    )


def predict_test(
    data: DatasetDict, tokenizer: PreTrainedTokenizerBase, precision: str, params: Params, run: Journal
) -> RowLogits:
    """What the classifier says of the rows of the test split, with the labels of their documents."""
    model = load_classifier(CLASSIFIER)
    cache = None if params.evaluate.full_model else params.cache
    with reserve_cores():
        inputs = prepare_inputs(model, data, ("test",), tokenizer, precision, cache)
        rows = predict_rows(inputs, "test", precision, params.evaluate.per_device_eval_batch_size)
    log_feature_cache(run, inputs.report)
    return rows


def measure_test_slices(predictions: LabelledPredictions, facts: RunFacts, seed: int) -> list[Slice]:
    """The results on the slices that `data.slice_columns` asked for."""
    columns = facts.manifest.get("slice_columns", [])
    return measure_slices(predictions, read_slices(RAW / "test.parquet", columns), seed)


def write_metrics(metrics: dict[str, float], problem_type: ProblemType) -> None:
    """Write all metrics, and the few that DVC compares."""
    write_json(TEST_METRICS, metrics)
    write_json(TEST_HEADLINES, select_headlines(metrics, problem_type))


def count_test_tokens(test: Dataset, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Tokens of each document of the test split, `(N,)`."""
    lengths = test.data.column("length").to_numpy()
    return count_document_tokens(lengths, get_documents(test), tokenizer)


def write_tables(
    predictions: LabelledPredictions, slices: Sequence[Slice], texts: Sequence[str], num_mistakes: int
) -> None:
    """Write the tables of predictions, classes, slices and mistakes, and the confusion matrix."""
    write_predictions(predictions, PREDICTIONS)
    write_class_metrics(predictions, REPORTS / "by_class.csv")
    write_slices(slices, isinstance(predictions, MultiLabelPredictions), REPORTS / "by_slice.csv")
    write_mistakes(predictions, texts, num_mistakes, REPORTS / "mistakes.csv")
    write_confusion(predictions, PLOTS / "confusion.csv")
    draw_confusion_matrix(predictions, PLOTS / "confusion_matrix.png")


def write_card(
    summary: Summary, facts: RunFacts, history: History, tokenizer: PreTrainedTokenizerBase, decisions: Decisions
) -> None:
    """Write the model card."""
    card = make_card(summary, facts, history.best_validation, tokenizer, decisions)
    with new_file(REPORTS / "model_card.md") as part:
        part.write_text(card, encoding="utf-8")


if __name__ == "__main__":
    refuse_arguments("evaluate", __doc__)
    run_stage("evaluate", main)
    confirm_finished()
