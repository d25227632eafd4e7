"""What the project's files import of each other, read from their source."""

import ast
from functools import cache
from pathlib import Path

from support.project import ROOT

TEMPLATES = tuple((ROOT / "stages/report/templates").iterdir())


@cache
def find_imports(path: str) -> frozenset[str]:
    """The project's files that a file imports, with the packages on the way, and the templates that it names."""
    tree = ast.parse((ROOT / path).read_text()) if path.endswith(".py") else ast.Module([], [])
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    found = {str(file.relative_to(ROOT)) for file in TEMPLATES if file.name in words}
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    for parts in (module.split(".") for module in modules):
        for end in range(1, len(parts) + 1):
            base = Path(*parts[:end])
            files = (base.with_suffix(".py"), base / "__init__.py")
            found |= {str(file) for file in files if (ROOT / file).is_file()}
    return frozenset(found)


def find_closure(path: str) -> set[str]:
    """A file, its packages, and all that it imports of the project, directly or not."""
    found: set[str] = set()
    todo = {path, "stages/__init__.py"}
    while todo:
        file = todo.pop()
        found.add(file)
        todo |= find_imports(file) - found
    return found
