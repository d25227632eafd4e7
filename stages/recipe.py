"""Set params.yaml to a recipe, a known experiment; `make repro RECIPE=ci` does this before it runs the pipeline.

python -m stages.recipe ci         # recipes/ci.yaml
python -m stages.recipe default    # the project's own values again

A recipe names only the keys that differ from the defaults in stages/core/param_sections.py; all other keys get their
default. So a recipe gives the same params on every machine, even when params.yaml holds the values of an earlier recipe
or of the user.
"""

import argparse
import shutil
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark

from stages.core.errors import UserError
from stages.core.files import new_file
from stages.core.param_types import Section, find_sections
from stages.core.params import Params
from stages.core.paths import PARAMS
from stages.core.stage import report_errors
from stages.core.yaml_files import read_yaml

RECIPES = Path("recipes")
DEFAULT = "default"  # the name of the recipe that changes nothing
BACKUP = Path("params.yaml.bak")
NULL, FLOAT = "tag:yaml.org,2002:null", "tag:yaml.org,2002:float"


def main() -> None:
    name = parse_arguments().recipe
    recipe = find_recipe(name)
    values = merge(read_defaults(), read_recipe(recipe) if recipe else {})
    params = read_document(PARAMS)
    changes = list(set_values(params, values))
    text = format_document(params)
    Params.parse(text, str(PARAMS))  # keys that params.yaml alone has are unknown keys
    if not changes:
        print(f"{PARAMS} already has the values of the recipe {name}.")
        return
    shutil.copyfile(PARAMS, BACKUP)
    with new_file(PARAMS) as part:
        part.write_text(text, encoding="utf-8")
    print(f"{PARAMS} now has the values of the recipe {name}; the file before is saved as {BACKUP}. Changed keys:")
    for change in changes:
        print(f"  {change}")


def find_recipe(name: str) -> Path | None:
    """The path of a recipe's file, None for the defaults; UserError lists all recipes when none has this name."""
    names = sorted([*(path.stem for path in RECIPES.glob("*.yaml")), DEFAULT])
    if name not in names:
        raise UserError(f"RECIPE: found {name}; allowed: {' '.join(names)}")
    return None if name == DEFAULT else RECIPES / f"{name}.yaml"


def read_recipe(recipe: Path) -> CommentedMap:
    """The keys that a recipe names; UserError lists every error with its dotted key."""
    Params.check(read_yaml(recipe), str(recipe), complete=False)
    return read_document(recipe)


def read_defaults(section: type[Section] = Params) -> dict[str, Any]:
    """The default of each key, as it is written in the code: `num_train_epochs` is 1 and not 1.0."""
    sections = find_sections(section)
    return {
        key: read_defaults(sections[key]) if key in sections else field.default
        for key, field in section.model_fields.items()
    }


def merge(defaults: dict[str, Any], recipe: dict[str, Any], section: type[Section] = Params) -> dict[str, Any]:
    """The recipe's values, and the defaults for all other keys.

    Only sections are merged. A value that is a mapping, such as `data.label_names`, is taken from one of the two.
    """
    merged = {**defaults, **recipe}
    for key, subsection in find_sections(section).items():
        if key in recipe:
            merged[key] = merge(defaults[key], recipe[key], subsection)
    return merged


def set_values(
    document: CommentedMap, values: dict[str, Any], section: type[Section] = Params, prefix: str = ""
) -> Iterator[str]:
    """Set the keys whose values differ, and yield a line for each of them, such as `train.num_train_epochs: 1 → 2`."""
    sections = find_sections(section)
    for key, value in values.items():
        if key in sections and isinstance(document.get(key), dict):
            yield from set_values(document[key], value, sections[key], f"{prefix}{key}.")
        elif key not in document or document[key] != value:
            before = format_value(document[key]) if key in document else "missing"
            align_comment(document, key)
            document[key] = put_on_one_line(value)
            yield f"{prefix}{key}: {before} → {format_value(value)}"


def align_comment(section: CommentedMap, key: str) -> None:
    """Move the comment behind a value that is about to change back into the section's column of comments.

    A long value pushes its comment to the right, and ruamel.yaml would leave it there after a shorter one.
    """
    marks = {name: items[2].start_mark for name, items in section.ca.items.items() if items[2]}
    mark = marks.get(key)
    if mark and mark.buffer[mark.pointer - 2] != " ":
        usual = Counter(mark.column for mark in marks.values()).most_common(1)[0][0]
        section.ca.items[key][2].start_mark = CommentMark(min(mark.column, usual))


def put_on_one_line(value: Any) -> Any:
    """A mapping as `{1: negative, 2: positive}`, so that each key of params.yaml keeps its line and its comment."""
    if isinstance(value, dict):
        value = CommentedMap(value)
        value.fa.set_flow_style()
    return value


def format_value(value: Any) -> str:
    """A value as it is written in a YAML file, on one line."""
    line = CommentedSeq([put_on_one_line(value)])
    line.fa.set_flow_style()
    return format_document(line).strip()[1:-1]


def read_document(path: Path) -> CommentedMap:
    """A YAML file with its comments, its quotes and its way of writing numbers."""
    read_yaml(path)  # for its checks and messages
    return make_yaml().load(path.read_text(encoding="utf-8"))


def format_document(document: CommentedMap | CommentedSeq) -> str:
    text = StringIO()
    make_yaml().dump(document, text)
    return text.getvalue()


def make_yaml() -> YAML:
    """A reader and writer that changes nothing that it is not told to."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 2**20  # else long lines would be wrapped
    # Else null would be written as an empty value.
    yaml.representer.add_representer(type(None), lambda writer, _: writer.represent_scalar(NULL, "null"))
    yaml.representer.add_representer(float, lambda writer, value: writer.represent_scalar(FLOAT, format_float(value)))
    return yaml


def format_float(value: float) -> str:
    """Small numbers as `2.0e-4`, and not as `0.0002`."""
    if value == 0 or abs(value) >= 1e-3:
        return repr(value)
    mantissa, _, exponent = f"{value:.15e}".partition("e")
    return f"{float(mantissa)}e{int(exponent)}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.recipe", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="the name of a file in recipes/, without .yaml")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("recipe"):
        main()
