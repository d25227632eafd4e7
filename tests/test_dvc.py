"""dvc.yaml declares what the code does."""

import ast
import re
from pathlib import Path

import pytest
import yaml
from support.project import ROOT

from stages.core.params import Params

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
TEMPLATES = list((ROOT / "stages/lib/templates").iterdir())


def imported(path: Path) -> set[str]:
    """The project's files that a file imports, with the packages on the way, and the templates that it names."""
    if path.suffix != ".py":
        return set()
    modules, tree = set(), ast.parse(path.read_text())
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    templates = {str(file.relative_to(ROOT)) for file in TEMPLATES if file.name in words}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = set()
    for module in modules:
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            base = Path(*parts[:end])
            files |= {str(file) for file in (base.with_suffix(".py"), base / "__init__.py") if (ROOT / file).is_file()}
    return files | templates


def closure(path: str) -> set[str]:
    """A file, its packages, and all that it imports of ours, directly or not."""
    found, todo = set(), {path, "stages/__init__.py"}
    while todo:
        file = todo.pop()
        found.add(file)
        todo |= imported(ROOT / file) - found
    return found


def test_there_are_the_five_stages():
    assert list(STAGES) == ["download", "base_model", "preprocess", "train", "evaluate"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_every_module_that_it_imports_and_no_other(stage):
    declared = {dep for dep in STAGES[stage]["deps"] if dep.startswith("stages/")}
    assert declared == closure(f"stages/{stage}.py")
    assert len(declared) >= 7


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_params_that_it_reads_and_no_other(stage):
    tree = ast.parse((ROOT / f"stages/{stage}.py").read_text())
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"
    }
    assert set(STAGES[stage]["params"]) == read & set(Params.model_fields)
    assert read


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_as_a_module(stage):
    assert STAGES[stage]["cmd"] == f"python -m stages.{stage}"


def test_timings_are_outputs_that_no_stage_depends_on():
    for stage, content in STAGES.items():
        outputs = [*content.get("outs", []), *content.get("metrics", [])]
        assert {f"metrics/timings/{stage}.json": {"cache": False}} in outputs
        assert not any("timings" in dep for dep in content["deps"])


def test_parts_import_only_downward():
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    lines = re.findall(r"^\d\. ([^\n]+(?:\n   [^\n]+)*)", contributing.split("## How it is laid out")[1], re.MULTILINE)
    levels = [{"__init__"}, *(set(re.findall(r"`(\w+)`", line)) for line in lines[:-1])]
    assert set().union(*levels) == {path.stem for path in (ROOT / "stages/lib").glob("*.py")}
    for number, level in enumerate(levels):
        lower = set().union(*levels[:number])
        for name in level:
            files = imported(ROOT / f"stages/lib/{name}.py")
            used = {Path(file).stem for file in files if file.endswith(".py")} - {name, "__init__"}
            assert used <= lower, f"{name} imports {used - lower}"
