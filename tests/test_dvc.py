"""dvc.yaml declares what the code does."""

import ast
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from support.imports import find_closure
from support.project import ROOT
from support.warm_python import find_python

from stages.core.params import Params
from stages.core.stage import STAGES as NAMES

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# What a stage imports and does not depend on, with the reason.
EXCEPTIONS = {
    "train": {"stages/tracking": "logs what happens; of the outputs it makes only the key of the run, which is random"}
}


def is_below(file: str, declared: str) -> bool:
    """Whether a file is a declared dependency or lies in a declared folder."""
    return Path(declared) in (Path(file), *Path(file).parents)


def test_there_are_the_five_stages():
    assert tuple(STAGES) == NAMES == ("download", "base_model", "preprocess", "train", "evaluate")


@pytest.mark.parametrize("stage", STAGES)
def test_help_and_an_option_run_no_stage(stage, tmp_path):
    """By mistake, `--help` once trained a model."""
    command = [find_python(), "-m", f"stages.{stage}"]
    options = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(ROOT)}, "capture_output": True, "text": True}
    shown = subprocess.run([*command, "--help"], check=True, **options).stdout
    assert f"usage: python -m stages.{stage} [-h]" in shown
    assert "its settings are those of params.yaml" in shown
    refused = subprocess.run([*command, "--epochs", "3"], check=False, **options)
    assert (refused.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "unrecognized arguments: --epochs 3" in refused.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_code_that_it_imports_and_on_no_other(stage):
    declared = [dep for dep in STAGES[stage]["deps"] if dep.startswith("stages/")]
    excepted = EXCEPTIONS.get(stage, {})
    imported = find_closure(f"stages/{stage}.py")
    assert len(imported) >= 9
    missing = {file for file in imported if not any(is_below(file, one) for one in [*declared, *excepted])}
    unused = {one for one in [*declared, *excepted] if not any(is_below(file, one) for file in imported)}
    assert (missing, unused) == (set(), set())
    assert not set(declared) & set(excepted)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_params_that_it_reads_and_no_other(stage):
    tree = ast.parse((ROOT / f"stages/{stage}.py").read_text())
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"
    }
    read |= {"seed"} & {name.removeprefix("train_") for name in read}  # `train_seed` is that of `train`, or else `seed`
    assert set(STAGES[stage]["params"]) == read & set(Params.model_fields)
    assert read


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_as_a_module(stage):
    program = r"\${LAUNCH:-python}" if stage == "train" else "python"
    assert STAGES[stage]["cmd"] == f"{program} -m stages.{stage}"


def test_timings_are_outputs_that_no_stage_depends_on():
    for stage, content in STAGES.items():
        outputs = [*content.get("outs", []), *content.get("metrics", [])]
        assert {f"metrics/timings/{stage}.json": {"cache": False}} in outputs
        assert not any("timings" in dep for dep in content["deps"])
