"""The folders show the architecture: packages that import each other in one direction only."""

import ast
import re
from graphlib import TopologicalSorter
from itertools import chain

from support.imports import find_imports
from support.project import ROOT

STAGES = ROOT / "stages"
PACKAGES = {path.name for path in STAGES.iterdir() if (path / "__init__.py").is_file()}
ENTRY_POINTS = {path.stem for path in STAGES.glob("*.py")} - {"__init__"}
FILES = [str(path.relative_to(ROOT)) for path in STAGES.rglob("*.py")]


def read_allowed_imports() -> dict[str, set[str]]:
    """The imports between packages that CONTRIBUTING.md lists, one package a line: `text ──► model`."""
    lines = re.findall(r"^(\w+) +──► ([\w, ]+?)$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    return {package: set(imported.split(", ")) for package, imported in lines}


def find_package_imports(package: str) -> set[str]:
    """The other packages that files of a package import, `core` left out."""
    files = chain.from_iterable(find_imports(file) for file in FILES if file.startswith(f"stages/{package}/"))
    return {file.split("/")[1] for file in files if file.count("/") == 2} - {package, "core"}


def test_all_code_is_in_a_package_or_an_entry_point():
    folders = {path.name for path in STAGES.iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == PACKAGES
    assert len(PACKAGES) == 11
    assert len(ENTRY_POINTS) >= 11


def test_packages_import_only_what_contributing_lists():
    found = {package: imports for package in PACKAGES if (imports := find_package_imports(package))}
    assert found == read_allowed_imports()
    assert sum(map(len, found.values())) <= 8
    list(TopologicalSorter(found).static_order())  # raises CycleError for imports in a circle


def test_core_imports_no_other_package():
    assert not find_package_imports("core")


def test_no_code_imports_an_entry_point():
    assert len(FILES) > 70
    entry_points = {f"stages/{name}.py" for name in ENTRY_POINTS}
    assert not {file: found for file in FILES if (found := find_imports(file) & entry_points)}


def test_a_package_holds_nothing_but_its_description():
    for package in PACKAGES:
        tree = ast.parse((STAGES / package / "__init__.py").read_text())
        assert len(ast.get_docstring(tree) or "") > 100, package
        assert len(tree.body) == 1, package


def test_tests_mirror_the_packages():
    of_no_one_module = ("engines", "gpu")
    files = [path for path in (ROOT / "tests").glob("*/test_*.py") if path.parent.name not in of_no_one_module]
    names = [f"{path.parent.name}/{path.stem.removeprefix('test_')}" for path in files]
    assert len(names) > 40
    assert not [name for name in names if not (STAGES / f"{name}.py").is_file()]
