"""YAML files, read as DVC reads them: with ruamel.yaml, as YAML 1.2.

After `dvc exp run -S` params.yaml is as ruamel.yaml writes it, without the quotes that only YAML 1.1 needs: `no` is
text there, and a reader of YAML 1.1, such as PyYAML, would take it for false.
"""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode

from stages.core.errors import UserError

# LookupError, TypeError, AttributeError: a value that is not of the kind that its tag names, such as `!!float` alone.
YAML_ERRORS = (YAMLError, ValueError, RecursionError, LookupError, TypeError, AttributeError)


class StrictComposer(Composer):
    """Refuses aliases: with nested ones a file of a few lines expands to billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.parser.check_event(AliasEvent):
            mark = self.parser.peek_event().start_mark
            raise MarkedYAMLError(problem="aliases (*) are not allowed", problem_mark=mark)
        return super().compose_node(parent, index)


class StrictConstructor(SafeConstructor):
    """Refuses a key that is given twice, also as `1` and `"1"`, with a message that names its line."""

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> Any:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, ScalarNode)):
            if key.value in seen:
                raise MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


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
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = StrictComposer
    yaml.Constructor = StrictConstructor
    try:
        values = yaml.load(text)
    except YAML_ERRORS as error:
        raise UserError(f"{source}: cannot be read as YAML: {error}") from None
    if not isinstance(values, dict):
        found = "an empty file" if values is None else f"a {type(values).__name__}"
        raise UserError(f"{source}: found {found}; expected sections of keys.")
    return values
