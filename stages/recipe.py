"""Set params.yaml to a recipe, a known experiment; `make repro RECIPE=ci` does this before it runs the pipeline.

python -m stages.recipe ci         # recipes/ci.yaml
python -m stages.recipe default    # the project's own values again

A recipe names only the keys that differ from the project's defaults; all other keys get their default. So a recipe
gives the same params on every machine, whatever params.yaml holds: values of an earlier recipe, or edits, committed or
not. This is why defaults are declared with the fields, in stages/core/param_sections.py. They cannot be read from
params.yaml, since it is what recipes and users change, nor from git, since people commit params.yaml together with the
results of a recipe.
"""

import argparse
import shutil
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark

from stages.core.errors import UserError
from stages.core.files import new_file
from stages.core.param_types import Section
from stages.core.params import Params
from stages.core.paths import PARAMS
from stages.core.stage import report_errors
from stages.core.yaml_files import read_yaml

RECIPES = Path("recipes")
DEFAULT = "default"  # the name of the recipe that gives no key, and has no file
BACKUP = Path("params.yaml.bak")
NULL, FLOAT = "tag:yaml.org,2002:null", "tag:yaml.org,2002:float"


def main() -> None:
    name = parse_arguments().recipe
    recipe = read_recipe(name)
    params = read_document(PARAMS)
    changes = list(set_values(params, recipe))
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


def read_recipe(name: str) -> CommentedMap:
    """The keys and values that a recipe gives, after the full check.

    UserError lists all recipes when none has this name, or every error of the recipe with its dotted key.
    """
    names = sorted([*(path.stem for path in RECIPES.glob("*.yaml")), DEFAULT])
    if name not in names:
        raise UserError(f"RECIPE: found {name}; allowed: {' '.join(names)}")
    if name == DEFAULT:
        return CommentedMap()
    path = RECIPES / f"{name}.yaml"
    Params.check(read_yaml(path), str(path), complete=False)
    return read_document(path)


def set_values(
    document: CommentedMap, recipe: CommentedMap, section: type[Section] = Params, prefix: str = ""
) -> Iterator[str]:
    """Set each key to the recipe's value, or else to its default, and yield a line for each key whose value differs.

    Such a line is `data.max_size_gb: 10 → 2`. Defaults are written as they are declared: 10, although the checked
    value is 10.0.
    """
    for key, field in section.model_fields.items():
        if isinstance(field.default, Section):
            if not isinstance(document.get(key), dict):
                document[key] = CommentedMap()
            yield from set_values(document[key], recipe.get(key, {}), type(field.default), f"{prefix}{key}.")
            continue
        value = recipe.get(key, field.default)
        if key not in document or document[key] != value:
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
    """A mapping as `{1: negative, 2: positive}`, a list as `[a, b]`: each key of params.yaml keeps line and comment.

    A mapping of mappings has a line for each of these.
    """
    if isinstance(value, dict):
        is_nested = any(isinstance(part, dict) for part in value.values())
        value = CommentedMap({key: put_on_one_line(part) for key, part in value.items()})
        if not is_nested:
            value.fa.set_flow_style()
    elif isinstance(value, list):
        value = CommentedSeq(map(put_on_one_line, value))
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
    mantissa, exponent = f"{Decimal(repr(value)):e}".split("e")
    return f"{float(mantissa)}e{exponent}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.recipe", description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="the name of a file in recipes/, without .yaml, or default")
    return parser.parse_args()


if __name__ == "__main__":
    with report_errors("recipe"):
        main()
