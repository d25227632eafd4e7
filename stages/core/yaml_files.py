"""YAML files, read as DVC reads them."""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.error import MarkedYAMLError

from stages.core.errors import UserError


class Yaml12Loader(yaml.SafeLoader):
    """Reads `2e-5` as a number, and raises an error for a key that is given twice, as YAML 1.2 and DVC do.

    PyYAML implements YAML 1.1: it reads that number as text and takes the last of the keys. Aliases are an error too:
    with nested ones a file of a few lines expands to billions of values.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise MarkedYAMLError(problem="aliases (*) are not allowed", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Parse a YAML file; UserError names file and line when it cannot be read."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: missing in {Path.cwd()}; run the stages from the folder that contains it.") from None
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {error}") from None


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Parse the text of a YAML file with sections of keys; UserError names `source` and line when that fails."""
    try:
        values = yaml.load(text, Yaml12Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{source}: cannot be read as YAML: {error}") from None
    if not isinstance(values, dict):
        found = "an empty file" if values is None else f"a {type(values).__name__}"
        raise UserError(f"{source}: found {found}; expected sections of keys.")
    return values
