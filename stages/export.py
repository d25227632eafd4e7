"""Export `models/classifier` to ONNX, so that it answers without torch and transformers.

python -m stages.export            # models/onnx, in fp32
python -m stages.export --int8     # the same with 8-bit integers: smaller, faster, and judged before it is accepted

The exported model must give the logits of torch on the validation split or, with --int8, nearly the same labels, and be
no worse. It is then logged to MLflow, as a second model of the run that trained it.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from stages.core.errors import UserError
from stages.core.files import cache_dir, new_folder, read_json
from stages.core.locks import hold_lock
from stages.core.params import Params
from stages.core.paths import CLASSIFIER, EXPORTED, RAW, RUN
from stages.core.problem_type import MULTI_LABEL
from stages.core.stage import report_errors
from stages.evaluation.predictions import LabelledPredictions
from stages.inference.agreement import Agreement, compare
from stages.inference.classifier_facts import ClassifierFacts
from stages.inference.exported_folder import GRAPH, hash_classifier, is_exported
from stages.inference.exporting import (
    KEPT_IN_FP32,
    LabelledTexts,
    check_fp32,
    check_installed,
    copy_without_graph,
    export_fp32,
    make_int8,
    predict_texts,
    read_texts,
    record_export,
)
from stages.inference.onnx_predictor import OnnxPredictor
from stages.inference.predictor import Predictor
from stages.inference.speed import measure_speed
from stages.tracking.exported_model import log_exported

VALIDATION = RAW / "validation.parquet"
MOST_ROWS = 1000  # on which logits in fp32 are compared; labels in int8 are compared on all


class Judge(NamedTuple):
    """The validation split, and what the model of torch says of it in fp32."""

    rows: LabelledTexts
    expected: LabelledPredictions
    confidence: float
    seed: int

    def judge(self, folder: Path) -> Agreement:
        """How far the exported model of a folder is from it."""
        found = predict_texts(OnnxPredictor(folder), self.rows, str(VALIDATION))
        return compare(self.expected, found, self.confidence, self.seed)


def main() -> None:
    arguments = parse_arguments()
    check_installed()
    check_out(arguments.out)
    params = Params.load()
    with hold_lock(FileLock(cache_dir() / "export.lock"), "another export"):
        export(arguments, params)


def export(arguments: argparse.Namespace, params: Params) -> None:
    """Make, judge, measure and log the export; one at a time, because a second would slow it and remove its files."""
    source = hash_classifier(arguments.model)  # before it is read: a model that replaces it now has no such export
    rows = read_texts(VALIDATION, None if arguments.int8 else MOST_ROWS)
    expected = predict_texts(Predictor(arguments.model, "fp32"), rows, str(VALIDATION))
    judge = Judge(rows, expected, params.gate.champion_confidence or 0.95, params.seed)
    with new_folder(arguments.out) as part, tempfile.TemporaryDirectory() as temporary:
        fp32 = Path(temporary) if arguments.int8 else part
        facts = export_fp32(arguments.model, fp32)
        agreement = judge.judge(fp32)
        made: dict[str, Any] = {"precision": "fp32"}
        check_fp32(agreement, str(VALIDATION))
        if arguments.int8:
            agreement, made = choose_int8(fp32, part, judge)
        size = (part / GRAPH).stat().st_size
        as_today = Predictor(arguments.model, params.evaluate.precision)
        speed = measure_speed({f"torch, {as_today.precision}": as_today, "onnx": OnnxPredictor(part)}, rows.texts)
        record_export(part, facts, source, made, agreement, speed)
    print(f"{arguments.out}: {made['precision']}, {size / 1e6:.1f} MB; {agreement.describe()}")
    for engine, values in speed.items():
        print(f"{engine}: {values['single_text_ms']} ms for one text, {values['texts_per_second']} texts a second")
    if params.tracking.log_model and arguments.model == CLASSIFIER:
        log_model(arguments.out, facts, params)


def check_out(folder: Path) -> None:
    """UserError when there is something else than an export, which would be lost: the folder is replaced as a whole."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not is_exported(folder)):
        raise UserError(f"--out: {folder} is there, and is no export; remove it, or give a new folder.")


def choose_int8(fp32: Path, folder: Path, judge: Judge) -> tuple[Agreement, dict[str, Any]]:
    """Write the fastest int8 that is accepted, with the fewest products in fp32; UserError when none is."""
    copy_without_graph(fp32, folder)
    tried = []
    for kept in KEPT_IN_FP32:
        made = make_int8(fp32 / GRAPH, folder / GRAPH, kept)
        agreement = judge.judge(folder)
        if agreement.is_accepted:
            return agreement, made
        tried.append(f"with {kept} in fp32, {agreement.describe()}")
    raise UserError(f"int8 is not accepted: {'; '.join(tried)}. Nothing was written; without --int8 it is fp32.")


def log_model(folder: Path, facts: ClassifierFacts, params: Params) -> None:
    """Log the exported model to MLflow; a warning where that is not possible, because the export is complete."""
    try:
        run_key = read_json(RUN, ["run"])["run"]
        has_several_labels = facts.problem_type == MULTI_LABEL
        name = log_exported(folder, params.tracking.experiment, run_key, bool(facts.takes_pairs), has_several_labels)
    except UserError as error:
        print(f"warning: the exported model is not in MLflow: {error}", file=sys.stderr)
    else:
        print(f"MLflow: {name}; `python -m stages.promote --onnx` puts it in the champion's place")


def parse_arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m stages.export", description=__doc__, formatter_class=raw)
    parser.add_argument("--int8", action="store_true", help="8-bit integers; refused where the answers are worse")
    parser.add_argument("--model", type=Path, default=CLASSIFIER, help=f"model folder (default: {CLASSIFIER})")
    parser.add_argument("--out", type=Path, default=EXPORTED, metavar="FOLDER", help=f"default: {EXPORTED}")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("export"):
        main()
