"""How an export is made and judged: the graph in fp32, its int8, and both against the model of torch."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.core.errors import UserError
from stages.core.hardware import cpu_name, has_exact_int8
from stages.core.problem_type import MULTI_LABEL
from stages.evaluation.predictions import LabelledPredictions, make_predictions
from stages.inference.agreement import MOST_DIFFERENT_LOGIT, Agreement
from stages.inference.classifier_facts import ClassifierFacts
from stages.inference.exported_folder import FACTS, GRAPH, TOKENIZER, write_facts
from stages.inference.onnx_graph import export_graph
from stages.inference.predictor import read_facts
from stages.inference.text_predictor import Text, TextPredictor
from stages.model.classifier import load_classifier
from stages.text.tokenizer import load_tokenizer

NEEDED = ("onnx", "onnxscript", "onnxruntime")  # of the extra `export`
LIBRARIES = ("torch", "transformers", *NEEDED, "tokenizers")
# Which products stay in fp32, the fastest first. Of the groups of products, those that widen a row, the first of the
# two in a layer's feed-forward part, change the logits most: by 0.021 in the mean with all in int8, by 0.015 without
# these, by 0.016 and 0.018 without the square ones and without those that narrow a row (all-MiniLM-L6-v2, 3,000 texts
# of the demo corpus).
KEPT_IN_FP32: dict[str, Callable[[int, int], bool]] = {
    "none": lambda inputs, outputs: False,
    "products that widen a row": lambda inputs, outputs: inputs < outputs,
}


def check_installed(packages: Sequence[str] = NEEDED) -> None:
    """UserError when one of the packages that an export needs is not installed."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        install = f"pip install -c constraints.txt {' '.join(missing)}"
        raise UserError(f"the export needs {', '.join(missing)}, not installed here; `{install}` does that.")


class LabelledTexts(NamedTuple):
    """The texts of a split, or pairs of texts, and their labels' names: one for each, or a list."""

    texts: list[Text]
    labels: list[Any]


def read_texts(raw: Path, most: int | None = None) -> LabelledTexts:
    """The rows of a file of `data/raw`, at most so many; UserError when it is missing or broken."""
    try:
        columns = pq.read_table(raw).slice(0, most).to_pydict()
        texts = [columns[name] for name in ("text", "text_pair") if name in columns]
        return LabelledTexts(list(zip(*texts, strict=True)) if len(texts) > 1 else texts[0], columns["label"])
    except (OSError, pa.ArrowException, LookupError) as error:
        raise UserError(f"{raw}: cannot be read ({error}); run `dvc repro download`, which makes it.") from None


def predict_texts(predictor: TextPredictor, rows: LabelledTexts, where: str) -> LabelledPredictions:
    """What a predictor says of rows whose labels are known; UserError for a label that the model does not have."""
    facts = predictor.facts
    found, _ = predictor.predict_scores(rows.texts, [f"{where} row {place}" for place in range(len(rows.texts))])
    numbers = {name: number for number, name in enumerate(facts.labels)}
    try:
        if facts.problem_type == MULTI_LABEL:
            labels = np.zeros(found.logits.shape, dtype=bool)
            for row, names in enumerate(rows.labels):
                labels[row, [numbers[name] for name in names]] = True
        else:
            labels = np.array([numbers[name] for name in rows.labels])
    except KeyError as error:
        raise UserError(f"{where}: has the label {error}, which the model does not have; run `dvc repro`.") from None
    return make_predictions(facts.problem_type, found.logits, labels, facts.labels, predictor.thresholds)


def export_fp32(classifier: Path, folder: Path) -> ClassifierFacts:
    """Write graph and tokenizer of a model folder into another one, with the facts, which are returned."""
    model, tokenizer = load_classifier(classifier).eval(), load_tokenizer(classifier)
    facts = read_facts(classifier, tokenizer)
    export_graph(model, facts.max_length, facts.has_token_types, folder / GRAPH)
    tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
    write_facts(folder, facts, {})
    return facts


def copy_without_graph(source: Path, target: Path) -> None:
    """Copy tokenizer and facts of an exported classifier."""
    for name in (TOKENIZER, FACTS):
        shutil.copy(source / name, target / name)


def check_fp32(agreement: Agreement, where: str) -> None:
    """UserError unless the logits of the graph are those of torch."""
    if not agreement.largest_difference <= MOST_DIFFERENT_LOGIT:
        raise UserError(
            f"the exported graph does not compute what the model does: logits of {where} differ by up to "
            f"{agreement.largest_difference:.2g}, and {MOST_DIFFERENT_LOGIT:g} is allowed. Nothing was written."
        )


def make_int8(graph: Path, target: Path, kept_in_fp32: str) -> dict[str, Any]:
    """Write a graph with 8-bit integers; return how it was made.

    A CPU that is not exact with weights of 8 bits gets 7. Tables of embeddings are integers too.
    """
    from stages.inference.int8 import quantize  # which needs the package onnx

    bits = 8 if has_exact_int8() else 7
    quantize(graph, target, weight_steps=2 ** (bits - 1) - 1, is_kept=KEPT_IN_FP32[kept_in_fp32])
    return {"precision": "int8", "weight_bits": bits, "kept_in_fp32": kept_in_fp32}


def record_export(
    folder: Path, facts: ClassifierFacts, source_sha256: str, made: dict[str, Any], agreement: Agreement, speed: Any
) -> None:
    """Write the facts again with what is known of the export."""
    export = {
        **made,
        "source_sha256": source_sha256,
        "agreement": asdict(agreement),
        "processor": cpu_name(),
        "speed": speed,
        "versions": {name: version(name) for name in LIBRARIES},
    }
    write_facts(folder, facts, export)
