"""What the page of a study says about how it was made."""

import pytest

from stages.core.files import write_json
from stages.core.git import run_git
from stages.core.paths import MANIFEST
from stages.report.study_facts import PACKAGES, describe_study

PARAMS = {"model.name": "a/model", "train.freeze_layers": 5, "seed": 42, "train.seed": None}
STATISTICS = {"splits": {"train": {"rows": 12345}, "validation": {"rows": 678}, "test": {"rows": 9}}}
SOURCE = {"source": "csv", "path": "https://user:secret@example.org/a.csv?token=secret", "revision": None}


@pytest.fixture(autouse=True)
def manifest(workspace):
    write_json(MANIFEST, {"source": SOURCE})


def describe(**params):
    return describe_study(PARAMS | params, STATISTICS)


def test_the_facts_are_those_that_decide_a_study():
    facts = describe()
    assert facts["Rows"] == "12,345 to train, 678 to validate"
    assert facts["Model"] == "a/model, 5 layers frozen"
    assert all(f"{name} " in facts["Versions"] for name in ("Python", *PACKAGES))


def test_the_data_is_named_without_the_secrets_of_its_address():
    assert describe()["Data"] == "https://example.org/a.csv"
    assert not any("secret" in fact for fact in describe().values())


@pytest.mark.parametrize(("seed", "expected"), [(None, "42"), (0, "42, in training 0"), (7, "42, in training 7")])
def test_a_seed_of_the_training_is_named_beside_that_of_the_data(seed, expected):
    assert describe(**{"train.seed": seed})["Seed"] == expected


def test_the_commit_is_named_and_a_study_outside_of_git_has_none(workspace):
    assert describe()["Commit"] == "none"
    for command in ("init -q", "-c user.name=a -c user.email=a@b commit -q --allow-empty -m empty"):
        run_git(workspace, *command.split())
    assert describe()["Commit"] == run_git(workspace, "rev-parse", "HEAD")
