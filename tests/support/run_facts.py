"""Facts and results of a run that never happened, for tests of the report and the model card."""

import numpy as np

from stages.core.problem_type import MULTI_LABEL, SINGLE_LABEL
from stages.evaluation.metrics import compute_test_metrics
from stages.evaluation.predictions import LabelledPredictions, make_predictions
from stages.evaluation.slices import find_worst_accuracy, measure_slices
from stages.report.facts import RunFacts
from stages.report.summary import Summary, summarize

SOURCE = {"source": "csv", "path": "https://me:secret@example.org/a.csv?token=secret", "revision": None}


def make_facts(
    labels=("bad", "good"),
    source=SOURCE,
    base=None,
    columns=("text", "label"),
    params=None,
    tags=None,
    missing=None,
    **others,
) -> RunFacts:
    split = {"rows": 1234, "tokens": 5678, "length": {"p50": 3}, "share_truncated": 0.125}
    train = split | {"share_classes": {label: 1 / len(labels) for label in labels}}
    default_params = {
        "seed": 42, "model.name": "someone/tiny", "model.pretrained": True, "model.revision": None,
        "preprocess.max_length": 128, "preprocess.stride": None, "train.freeze_layers": 3,
    }  # fmt: skip
    return RunFacts(
        params=default_params | (params or {}),
        tags=tags or {"git.commit": "c" * 40, "git.dirty": "false"},
        base={"hub": "someone/tiny", "revision": "c" * 40, "license": "apache-2.0"} if base is None else base,
        manifest={"source": source, "labels": list(labels), "columns": list(columns)},
        statistics={
            "splits": {"train": train, "validation": split, "test": split},
            "leaks": {"train_and_test": 12},
            "dropped": {"train": {"empty text": 34}},
            "missing_classes": missing or {},
        },
        parameters={"trainable_parameters": 1, "total_parameters": 2, "ranks": 1},
        precision="fp32",
        **others,
    )


def make_test_predictions(names, is_multi_label=False, rows=60, **options) -> LabelledPredictions:
    """Random ones."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(rows, len(names))).astype(np.float32)
    if is_multi_label:
        return make_predictions(MULTI_LABEL, logits, random.random(logits.shape) < 0.4, list(names), **options)
    return make_predictions(SINGLE_LABEL, logits, np.arange(rows) % len(names), list(names), **options)


def make_summary(names=("bad", "good"), text="a text", rows=60, slices=None, **options) -> Summary:
    """Results of random predictions, with five mistakes; row i has i tokens."""
    predictions = make_test_predictions(names, rows=rows, **options)
    measured = measure_slices(predictions, slices or {}, seed=0)
    metrics = compute_test_metrics(predictions) | find_worst_accuracy(measured)
    return summarize(predictions, metrics, np.arange(rows), [text] * rows, num_mistakes=5, seed=0, slices=measured)
