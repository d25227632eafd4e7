"""Do new texts come from where the training texts come from? They are compared with the test split.

python -m stages.drift --csv new.csv

The exit code is 1 when drift is found, by the rules of `drift` in params.yaml. Where the file has labels, the metrics
are compared as well. The answer is printed; reports/drift.html and reports/drift.json have all of it.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.core.data_section import Data
from stages.core.errors import UserError, list_names, to_one_line
from stages.core.files import write_json
from stages.core.gpu_slots import take_gpu
from stages.core.params import Params
from stages.core.paths import BASE, CLASSIFIER, DRIFT, RAW
from stages.core.problem_type import MULTI_LABEL
from stages.core.stage import report_errors
from stages.data.labels import BadRow, LabelReader
from stages.evaluation.differences import Comparison, TextSample, compare_metrics, compare_texts
from stages.evaluation.predictions import LabelledPredictions, Predictions, make_predictions
from stages.evaluation.two_sample import FEWEST_TEXTS, compare_samples
from stages.inference.csv_file import Layout
from stages.inference.predictor import Predictor
from stages.inference.samples import Sample, draw_from_csv, draw_from_split
from stages.inference.text_features import EncodedTexts, TextEncoder
from stages.model.folder import list_labels, read_classifier
from stages.report.drift_page import DriftResult, ForeignText, write_drift_page
from stages.report.html import describe_hardware

SHOWN_TEXTS = 10
Labels = Mapping[int, Sequence[str]]  # of the rows that have some, by their place in the sample


class MeasuredTexts(NamedTuple):
    """What model, tokenizer and frozen encoder say of N texts: all of the new ones, then those of the test split."""

    is_new: np.ndarray  # bool (N,)
    numbers: np.ndarray  # the same for equal texts, (N,)
    truncated: np.ndarray  # whether the model read only a part of the text, bool (N,)
    predictions: Predictions
    encoded: EncodedTexts


def main() -> None:
    arguments = parse_arguments()
    params = apply_options(Params.load(), arguments)
    model_labels = list_labels(read_classifier(CLASSIFIER))
    new, reference = draw_samples(arguments, params)
    new_labels = read_labels(new, params, model_labels)
    take_gpu()
    measured = measure(new, reference, params)
    metrics = measure_metrics(new_labels, reference, measured, params.seed)
    result = compare(new, reference, measured, params, metrics, len(new_labels))
    write_json(DRIFT, result.to_json())
    page = DRIFT.with_suffix(".html")
    write_drift_page(page, result, describe_facts(params))
    for sentence in result.describe():
        print(sentence)
    print(f"{page}: what differs")
    if result.has_drift:
        sys.exit(f"\ndrift found: {result.csv} differs from the test split")


def apply_options(params: Params, arguments: argparse.Namespace) -> Params:
    """The params with the keys of `data` that options give; UserError for a value that is not allowed."""
    given = {key: value for key, value in vars(arguments).items() if value is not None and key in Data.model_fields}
    values = params.model_dump(exclude={"sweep"})
    return Params.check(values | {"data": values["data"] | given}, "the options", complete=False)


def draw_samples(arguments: argparse.Namespace, params: Params) -> tuple[Sample, Sample]:
    """The new texts and those of the test split."""
    most, seed, data = params.drift.max_rows, params.seed, params.data
    layout = Layout(**data.model_dump(include=set(Layout._fields)))
    columns = data.label_column if isinstance(data.label_column, list) else [data.label_column]
    new = draw_from_csv(arguments.csv, layout, columns, arguments.label_column is not None, most, seed)
    return new, draw_from_split(RAW / "test.parquet", most, seed)


def read_labels(new: Sample, params: Params, model_labels: Sequence[str]) -> Labels:
    """The labels of the new texts; UserError for one that the model does not know.

    An empty cell, or one in each label column, is a text that nobody has labelled, unless several labels are in a cell:
    then it is one without any.
    """
    reader = LabelReader(params.data)
    found: dict[int, Sequence[str]] = {}
    for place, row in enumerate(new.rows if new.has_labels else ()):
        if not "".join(row.label) and not reader.separator:
            continue
        try:
            found[place] = reader.read(row.label)
        except BadRow as error:
            raise UserError(f"{row.location}: {error}.") from None
        unknown = set(found[place]) - set(model_labels)
        if unknown:
            known = list_names(model_labels)
            raise UserError(f"{row.location}: label {to_one_line(min(unknown))!r}; the model knows {known}.")
    return found


def measure(new: Sample, reference: Sample, params: Params) -> MeasuredTexts:
    """Predict and encode the texts of both samples together, so that nothing but the texts differs between them.

    UserError when either sample has too few texts that are different after cleaning, which the test compares.
    """
    precision, batch_size = params.evaluate.precision, params.evaluate.per_device_eval_batch_size
    texts, locations = new.texts + reference.texts, new.locations + reference.locations
    predictor = Predictor(CLASSIFIER, precision, batch_size)
    cleaned = [predictor.prepare(text, location) for text, location in zip(texts, locations, strict=True)]
    check_different(new.name, cleaned[: len(new.rows)], "Wait for more texts.")
    advice = "Use a source with more test rows, or data.test_fraction."
    check_different(f"the test split ({RAW}/test.parquet)", cleaned[len(new.rows) :], advice)
    print(f"predicting {len(texts):,} texts", file=sys.stderr)
    predictions, truncated = predictor.predict_scores(texts, locations)
    print("computing their features", file=sys.stderr)
    encoded = TextEncoder(CLASSIFIER, BASE, precision, batch_size).encode(cleaned)
    first: dict[Any, int] = {}
    numbers = np.array([first.setdefault(text, place) for place, text in enumerate(cleaned)])
    return MeasuredTexts(np.arange(len(texts)) < len(new.rows), numbers, np.array(truncated), predictions, encoded)


def check_different(name: str, texts: Sequence[Any], advice: str) -> None:
    """UserError when a sample has too few different texts."""
    if (found := len(set(texts))) < FEWEST_TEXTS:
        raise UserError(f"{name}: {found} different texts; the test for drift needs {FEWEST_TEXTS}. {advice}")


def measure_metrics(new_labels: Labels, reference: Sample, measured: MeasuredTexts, seed: int) -> list[Comparison]:
    """Compare the metrics of the new texts with those of the test split; none where few new texts have a label.

    The bootstrap gives few rows too narrow an interval: one row that is right would be an accuracy of 1.0 to 1.0.
    """
    if len(new_labels) < FEWEST_TEXTS:
        return []
    first = int(np.count_nonzero(measured.is_new))
    labels = {
        first + place: [row.label] if isinstance(row.label, str) else row.label
        for place, row in enumerate(reference.rows)
    }
    is_ordinal = bool(read_classifier(CLASSIFIER).get("is_ordinal"))
    new = label(measured.predictions, new_labels, is_ordinal)
    return compare_metrics(new, label(measured.predictions, labels, is_ordinal), seed)


def label(predictions: Predictions, labels: Labels, is_ordinal: bool) -> LabelledPredictions:
    """The predictions of the rows that have labels, with these."""
    matrix = np.array([[name in of_row for name in predictions.names] for of_row in labels.values()])
    numbers = matrix if predictions.problem_type == MULTI_LABEL else matrix.argmax(axis=1)
    logits, names = predictions.logits[list(labels)], predictions.names
    return make_predictions(predictions.problem_type, logits, numbers, names, predictions.thresholds, is_ordinal)


def compare(
    new: Sample,
    reference: Sample,
    measured: MeasuredTexts,
    params: Params,
    metrics: Sequence[Comparison],
    labelled: int,
) -> DriftResult:
    """The verdict, and what differs."""
    rules, is_new = params.drift, measured.is_new
    print(f"comparing the samples, with {rules.permutations} permutations", file=sys.stderr)
    test = compare_samples(measured.encoded.features, is_new, measured.numbers, rules.permutations, params.seed)
    samples = select(measured, is_new), select(measured, ~is_new)
    most_foreign = np.argsort(-test.scores[: len(new.rows)], kind="stable")[:SHOWN_TEXTS]
    return DriftResult(
        csv=to_one_line(new.name),
        test=test,
        is_new=is_new,
        rules=rules,
        rows={"new": (len(new.rows), new.total), "test": (len(reference.rows), reference.total)},
        texts=compare_texts(*samples, params.seed),
        metrics=metrics,
        labelled=labelled,
        foreign=[describe_text(new, samples[0].predictions, place) for place in most_foreign.tolist()],
    )


def select(measured: MeasuredTexts, rows: np.ndarray) -> TextSample:
    """One of the two samples, whose rows are chosen by bool `(N,)`."""
    predictions, numbers = measured.predictions, measured.numbers[rows]
    is_first = np.isin(np.arange(len(numbers)), np.unique(numbers, return_index=True)[1])
    return TextSample(
        lengths=measured.encoded.lengths[rows],
        unknown=measured.encoded.unknown[rows],
        truncated=measured.truncated[rows],
        repeated=~is_first,
        predictions=make_predictions(
            predictions.problem_type, predictions.logits[rows], None, predictions.names, predictions.thresholds
        ),
    )


def describe_text(new: Sample, predictions: Predictions, place: int) -> ForeignText:
    """A new text, and what the model says of it."""
    row = new.rows[place]
    location = to_one_line(row.location)
    text = row.text if isinstance(row.text, str) else "\n\n".join(row.text)
    return ForeignText(location, text, predictions.predicted_names[place], float(predictions.confidence[place]))


def describe_facts(params: Params) -> dict[str, str]:
    """What the page says of model and machine."""
    hardware = describe_hardware()
    return {
        "Model": f"{CLASSIFIER}, trained from {params.model.name if params.model.pretrained else 'random weights'}",
        "Features": "the encoder of the base model" if params.model.pretrained else "the encoder of the classifier",
        "Seed": f"{params.seed}",
        "Processor": f"{hardware['Processor']}, computes as {hardware['Computes']}",
    }


def parse_arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m stages.drift", description=__doc__, formatter_class=raw)
    parser.add_argument("--csv", type=Path, metavar="FILE", required=True, help="the new texts")
    parser.add_argument("--text-column", metavar="NAME", help="default: data.text_column")
    parser.add_argument("--text-pair-column", metavar="NAME", help="default: data.text_pair_column")
    parser.add_argument("--label-column", metavar="NAME", help="default: data.label_column, if the file has it")
    parser.add_argument("--delimiter", help="default: data.delimiter; \\t is a tab")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("drift"):
        main()
