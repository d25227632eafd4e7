"""What studies found, for the report and the gate: files in the main checkout, used where data, model and params fit.

No stage depends on these files: what is to be shown is no dependency of what is to be computed.
"""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.core.errors import UserError
from stages.core.files import main_checkout, read_json, sha256_of_all
from stages.core.paths import BASE

SEED = "train.seed"
STAGES = Path(__file__).parent.parent
CODE = ("evaluation", "model", "text", "training")  # the packages that decide what a training gives
VERSIONS = ("accelerate", "numpy", "torch", "transformers")


def make_study_key(train: dict[str, Any], tokenized_sha256: str, **others: Any) -> dict[str, Any]:
    """All that decides the results of a study: `train`, data, base model, code, versions, and what else a study has.

    Not the processor: on another one the last bits are others, and a study may be shared by several machines.
    """
    files = [file for package in CODE for file in sorted((STAGES / package).glob("*.py"))]
    return {
        "train": train,
        "data": tokenized_sha256,
        "base": sha256_of_all([BASE]),
        "code": sha256_of_all(files),
        "versions": {name: version(name) for name in VERSIONS},
    } | others


def read_study(path: Path, keys: Iterable[str], train: dict[str, Any], tokenized_sha256: str) -> dict[str, Any] | None:
    """What a study wrote to `path`; None where there is nothing, or where it was made of something else than this.

    The seed may differ.
    """
    try:
        found = read_json(main_checkout() / path, ["key", *keys])
        key = make_study_key(train, tokenized_sha256)
        fits = all(drop_seed(found["key"][name]) == drop_seed(value) for name, value in key.items())
    except (UserError, KeyError, TypeError):  # a broken file is no reason to fail
        return None
    return found if fits else None


def drop_seed(value: Any) -> Any:
    return {name: one for name, one in value.items() if name != SEED} if isinstance(value, dict) else value
