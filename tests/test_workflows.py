"""The workflows of `.github`, whose steps are run here one by one, as GitHub's runner would."""

import mlflow
import pytest
import yaml
from conftest import ROOT, change

from stages.lib.yaml12 import read_yaml

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


def run_step(checkout, name, variables, fails=False):
    """Run a step's script; it may add to `variables` by GITHUB_ENV, and to PATH, which is what it should be already."""
    (script,) = (step["run"] for step in WORKFLOW["steps"] if step.get("name") == name)
    files = {key: checkout.folder.parent / key for key in ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
    given = {key: str(value) for key, value in (variables | files).items()}
    output = checkout.run("bash", "-eo", "pipefail", "-c", script, fails=fails, **given)
    if files["GITHUB_ENV"].exists():
        variables.update(line.split("=", 1) for line in files["GITHUB_ENV"].read_text().splitlines())
    return output


def test_a_pull_request_is_judged_against_its_base_and_reported(checkout):
    variables = WORKFLOW["env"] | {"BASE": "main", "GITHUB_SHA": checkout.run("git", "rev-parse", "HEAD").strip()}
    output = run_step(checkout, "Train what the base branch has, as champion", variables)
    assert "version 1 of text-classifier is the champion" in output
    assert "Running stage 'train'" in run_step(checkout, "Train what the pull request has", variables)
    assert "error in gate: the model fails min_accuracy" in run_step(checkout, "Gate", variables, fails=True)
    run_step(checkout, "Report", variables)
    report = (checkout.folder / "comment.md").read_text()
    assert (checkout.folder.parent / "GITHUB_STEP_SUMMARY").read_text() == report
    accuracy = checkout.json("metrics/evaluate.json")["accuracy"]
    assert report.startswith(f"### Test accuracy {accuracy:.3f}")
    lines = report.splitlines()
    assert any(line.startswith("| champion_confidence") for line in lines)
    assert any(line.startswith("| metrics/evaluate.json | accuracy") for line in lines)
    assert any(line.startswith("| params.yaml | train.learning_rate") for line in lines)


def test_a_fork_is_not_commented_and_every_script_stops_at_its_first_fault():
    comment = WORKFLOW["steps"][-1]
    assert comment["run"].startswith("gh pr comment")
    assert "!github.event.pull_request.head.repo.fork" in comment["if"]
    assert read_yaml(ROOT / ".github/workflows/pull-request.yml")["defaults"]["run"]["shell"] == "bash"
