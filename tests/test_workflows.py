"""The workflows of `.github`, whose steps are run here one by one, as GitHub's runner would."""

import re

import mlflow
import pytest
import yaml
from support.project import ROOT, change

from stages.core.yaml_files import read_yaml

WORKFLOW = read_yaml(ROOT / ".github/workflows/pull-request.yml")["jobs"]["model"]


@pytest.fixture
def checkout(finished, tmp_path):
    """A branch `pull-request` that asks for more accuracy than there is, and `main`, whose recipe is finished."""
    checkout = finished.copy(tmp_path / "checkout")
    (checkout.folder / ".venv").mkdir()
    (checkout.folder / ".venv/.installed").touch()  # the tests' own environment does
    recipe = checkout.folder / "recipes/ci.yaml"
    limits = {"gate.min_accuracy": 0.0, "gate.min_recall_worst_class": None, "gate.max_calibration_error": None}
    for branch, changes in (
        ("main", limits),
        ("pull-request", {"gate.min_accuracy": 1.0, "train.learning_rate": 1e-4}),
    ):
        checkout.run("git", "switch", "-q", "-C", branch)
        values = read_yaml(recipe if branch != "main" else checkout.folder / "params.yaml")
        recipe.write_text(yaml.safe_dump(change(values, changes), sort_keys=False))
        checkout.run("git", "commit", "-qam", branch)
    yield checkout
    mlflow.set_tracking_uri(None)


def run_step(checkout, name, fails=False):
    """Run a step's script; what it adds to PATH is there already."""
    (script,) = (step["run"] for step in WORKFLOW["steps"] if step.get("name") == name)
    variables = WORKFLOW["env"] | {"BASE": "main", "GITHUB_SHA": "pull-request"}
    files = {key: str(checkout.folder.parent / key) for key in ("GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
    return checkout.run("bash", "-eo", "pipefail", "-c", script, fails=fails, **variables, **files)


def test_a_pull_request_is_judged_against_its_base_and_reported(checkout):
    output = run_step(checkout, "Train what the base branch has, as champion")
    assert "version 1 of text-classifier is the champion" in output
    assert "Running stage 'train'" in run_step(checkout, "Train what the pull request has")
    assert "error in gate: the model fails min_accuracy" in run_step(checkout, "Gate", fails=True)
    run_step(checkout, "Report")
    report = (checkout.folder / "comment.md").read_text()
    assert (checkout.folder.parent / "GITHUB_STEP_SUMMARY").read_text() == report
    accuracy = checkout.json("metrics/evaluate.json")["accuracy"]
    assert report.startswith(f"### Test accuracy {accuracy:.3f}")
    assert re.search(r"^\| champion_confidence +\| no loss +\|.* against version 1 +\|", report, re.MULTILINE)
    assert re.search(r"^\| metrics/test.json +\| loss +\|", report, re.MULTILINE)
    assert re.search(r"^\| params.yaml +\| train.learning_rate +\| 0.001 +\| 0.0001 +\|", report, re.MULTILINE)
    assert b"\r" not in (checkout.folder / "comment.md").read_bytes()  # no progress bar
