"""The predictor that fits a model folder: torch for one of transformers, ONNX Runtime for an exported one.

Only what is needed is imported: torch and transformers take seconds, and need not be installed for an exported model.
"""

from importlib.util import find_spec
from pathlib import Path

from stages.core.errors import UserError
from stages.core.hardware import cpu_name
from stages.core.problem_type import SINGLE_LABEL
from stages.inference.exported_folder import REMEDY, hash_classifier, is_exported, read_export, read_facts
from stages.inference.text_predictor import TextPredictor
from stages.model.folder import list_labels, read_classifier


def load_predictor(
    folder: Path, precision: str = "auto", batch_size: int = 64, min_probability: float | None = None
) -> TextPredictor:
    """The predictor of a folder; `precision` is about torch. UserError when the folder has no model."""
    if is_exported(folder):
        from stages.inference.onnx_predictor import OnnxPredictor

        return OnnxPredictor(folder, batch_size, min_probability)
    from stages.inference.predictor import Predictor

    return Predictor(folder, precision, batch_size, min_probability)


def read_labels(folder: Path) -> tuple[list[str], str]:
    """The labels of a model folder of either kind and its problem type, read without its weights."""
    if is_exported(folder):
        facts = read_facts(folder)
        return facts.labels, facts.problem_type
    config = read_classifier(folder)
    return list_labels(config), config.get("problem_type") or SINGLE_LABEL


def find_export(classifier: Path, exported: Path, only_if_faster: bool) -> Path:
    """The folder of the export of a model folder; UserError when there is none, or it is of another model.

    `only_if_faster` returns the model folder itself in these cases, and unless the export answered more texts a second
    on a processor of this name.
    """
    if not only_if_faster:
        if read_export(exported)["source_sha256"] != hash_classifier(classifier):
            raise UserError(f"{exported}: is the export of another model than {classifier}; {REMEDY}.")
        return exported
    if not is_exported(exported) or not find_spec("onnxruntime"):
        return classifier
    export = read_export(exported)
    speeds = {engine: values["texts_per_second"] for engine, values in export["speed"].items()}
    is_faster = export["processor"] == cpu_name() and speeds["onnx"] == max(speeds.values())
    return exported if is_faster and export["source_sha256"] == hash_classifier(classifier) else classifier
