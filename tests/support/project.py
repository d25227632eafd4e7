"""The project that is tested: its folder, and its params with changes."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# Tests start from the project's params, whatever data the user has set in them.
DEMO = {
    "data.source": "demo",
    "data.path": None,
    "data.config": None,
    "data.revision": None,
    "data.sha256": None,
    "data.max_size_gb": 10,
    "data.splits": None,
    "data.text_column": "text",
    "data.text_pair_column": None,
    "data.label_column": "label",
    "data.label_names": None,
    "data.encoding": "utf-8",
    "data.header": True,
    "data.delimiter": ",",
    "data.quotechar": '"',
    "data.on_bad_rows": "error",
    "data.on_leak": "warn",
    "data.test_fraction": 0.1,
    "data.max_train_samples": None,
    "data.max_test_samples": None,
    "data.validation_fraction": 0.1,
    "model.pretrained": True,
    "model.tokenizer": "pretrained",
    "model.dropout": None,
}


def change(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Set dotted keys in nested dicts."""
    for key, value in changes.items():
        *sections, name = key.split(".")
        target = values
        for section in sections:
            target = target[section]
        target[name] = value
    return values
