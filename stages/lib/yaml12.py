"""YAML files, read as DVC reads them."""

import re
from pathlib import Path
from typing import Any

import yaml

from stages.lib.errors import UserError


class Yaml12Loader(yaml.SafeLoader):
    """Reads `2e-5` as a number, as YAML 1.2 and DVC do; PyYAML's YAML 1.1 reads it as text."""


Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> Any:
    """Parse a YAML file; UserError names file and line when it cannot be read."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Yaml12Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: missing in {Path.cwd()}; run the stages from the folder that holds it.") from None
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(values, dict):
        found = "an empty file" if values is None else f"a {type(values).__name__}"
        raise UserError(f"{path}: found {found}; expected sections of keys.")
    return values
