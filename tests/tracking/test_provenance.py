import subprocess

import pytest
import yaml
from support.project import DEMO, ROOT, change

from stages.core.git import git, web_address
from stages.core.params import Params
from stages.core.yaml_files import read_yaml
from stages.tracking.provenance import description, provenance, run_name

STATISTICS = {"raw_sha256": "a" * 64, "tokenized_sha256": "b" * 64}


@pytest.fixture(autouse=True)
def repository(workspace, write_params, monkeypatch):
    """One commit with the project's params."""
    for name in ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    write_params()
    for command in ("init -q", "add params.yaml", "-c user.name=Test -c user.email=test@example.org commit -qm start"):
        subprocess.run(["git", *command.split()], check=True)
    return workspace


def changed(write_params, changes):
    return Params.load(write_params(changes)).flat()


def test_name_and_description_say_what_changed_against_the_commit(write_params):
    commit = git("rev-parse", "HEAD")
    params = changed(write_params, {"train.freeze_layers": "all"})
    assert run_name(params) == f"repro-{commit[:7]} freeze_layers=all"
    expected = f"- `train.freeze_layers`: all, not {before()}\n\nagainst commit {commit[:7]}"
    assert provenance(STATISTICS, params)["mlflow.note.content"] == expected


def before():
    return read_yaml(ROOT / "params.yaml")["train"]["freeze_layers"]


def test_the_params_of_the_commit_need_no_list(write_params):
    commit = git("rev-parse", "HEAD")
    params = changed(write_params, {})
    assert run_name(params) == f"repro-{commit[:7]}"
    assert description(params, commit) == f"The params of commit {commit[:7]}"


def test_a_name_stays_short_and_that_of_a_dvc_experiment_as_it_is(write_params, monkeypatch):
    params = changed(write_params, {"seed": 7, "data.max_train_samples": 1000, "train.num_train_epochs": 3})
    assert run_name(params) == f"repro-{git('rev-parse', '--short', 'HEAD')}"
    monkeypatch.setenv("DVC_EXP_NAME", "huge-idea")
    assert run_name(params) == "huge-idea"


def test_a_commit_of_another_version_of_the_pipeline_is_not_compared(write_params):
    params = changed(write_params, {"seed": 7})
    values = change(read_yaml(ROOT / "params.yaml"), DEMO | {"train.forgotten": 1})
    (write_params().parent / "params.yaml").write_text(yaml.safe_dump(values))
    subprocess.run("git -c user.name=T -c user.email=t@example.org commit -qam other".split(), check=True)
    assert description(params, "HEAD") == ""
    assert "mlflow.note.content" not in provenance(STATISTICS, params)


@pytest.mark.parametrize(
    "remote",
    ["https://me:token@host.org/o/n.git", "git@host.org:o/n.git", "ssh://git@host.org:22/o/n", "https://host.org/o/n/"],
)
def test_a_file_is_found_on_the_web_without_what_is_secret(remote):
    assert web_address("README.md") is None
    subprocess.run(["git", "remote", "add", "origin", remote], check=True)
    assert web_address("README.md") == "https://host.org/o/n/blob/HEAD/README.md"


def test_a_remote_that_is_a_folder_has_no_address():
    subprocess.run(["git", "remote", "add", "origin", "/srv/repository"], check=True)
    assert web_address("README.md") is None
