"""The folder of an exported classifier: its graph, its tokenizer, and a file of facts.

It needs neither torch nor transformers to be read, and this module imports neither.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.core.errors import UserError
from stages.core.files import read_json, sha256_of_all, write_json
from stages.inference.classifier_facts import ClassifierFacts

GRAPH, FACTS, TOKENIZER = "model.onnx", "classifier.json", "tokenizer.json"
REMEDY = "`python -m stages.export` makes models/onnx"


def is_exported(folder: Path) -> bool:
    """Whether a model folder is that of an exported classifier, and not one of transformers."""
    return (folder / FACTS).is_file()


def write_facts(folder: Path, facts: ClassifierFacts, export: dict[str, Any]) -> None:
    """Write what is known of the classifier, and of its export: its source, its precision, what was measured."""
    write_json(folder / FACTS, {"classifier": asdict(facts), "export": export})


def read_facts(folder: Path) -> ClassifierFacts:
    """The facts of an exported classifier; UserError when the folder has none, or they are not of this version."""
    try:
        return ClassifierFacts(**read_file(folder)["classifier"])
    except TypeError as error:
        raise UserError(f"{folder / FACTS}: was written by another version of this code ({error}); {REMEDY}.") from None


def read_export(folder: Path) -> dict[str, Any]:
    """What is known of the export; errors as of `read_facts`."""
    return read_file(folder)["export"]


def read_file(folder: Path) -> dict[str, Any]:
    for name in (FACTS, GRAPH, TOKENIZER):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: has no exported model (no {name}); {REMEDY}.")
    return read_json(folder / FACTS, ["classifier", "export"])


def hash_classifier(folder: Path) -> str:
    """SHA-256 of all files of a model folder of transformers, by which an export is known to be of it."""
    return sha256_of_all(sorted(path for path in folder.rglob("*") if path.is_file()))
