import subprocess
from pathlib import Path

import pytest
import yaml
from support.project import make_params

from stages.core.errors import UserError
from stages.core.git import find_web_address, query_git, run_git
from stages.core.params import Params
from stages.tracking.provenance import describe_params, make_run_name, make_run_tags

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


def load_flat(write_params, changes):
    return Params.load(write_params(changes)).flat()


def test_name_and_description_list_the_params_that_differ_from_the_commit(write_params):
    commit = query_git("rev-parse", "HEAD")
    params = load_flat(write_params, {"train.freeze_layers": "all"})
    assert make_run_name(params) == f"repro-{commit[:7]} freeze_layers=all"
    expected = f"- `train.freeze_layers`: all, was {Params().train.freeze_layers}\n\ncompared with commit {commit[:7]}"
    assert make_run_tags(STATISTICS, params)["mlflow.note.content"] == expected


def test_unchanged_params_need_no_list(write_params):
    commit = query_git("rev-parse", "HEAD")
    params = load_flat(write_params, {})
    assert make_run_name(params) == f"repro-{commit[:7]}"
    assert describe_params(params, commit) == f"The params of commit {commit[:7]}"


def test_a_long_name_is_shortened_and_that_of_a_dvc_experiment_is_kept(write_params, monkeypatch):
    params = load_flat(write_params, {"seed": 7, "data.max_train_samples": 1000, "train.num_train_epochs": 3})
    assert make_run_name(params) == f"repro-{query_git('rev-parse', '--short', 'HEAD')}"
    monkeypatch.setenv("DVC_EXP_NAME", "huge-idea")
    assert make_run_name(params) == "huge-idea"


def test_params_of_another_version_of_the_pipeline_are_not_compared(write_params):
    params = load_flat(write_params, {"seed": 7})
    values = make_params({"train.forgotten": 1})
    (write_params().parent / "params.yaml").write_text(yaml.safe_dump(values))
    subprocess.run("git -c user.name=T -c user.email=t@example.org commit -qam other".split(), check=True)
    assert describe_params(params, "HEAD") == ""
    assert "mlflow.note.content" not in make_run_tags(STATISTICS, params)


@pytest.mark.parametrize(
    "remote",
    [
        "https://me:to/ken@host.org/o/n.git?sig=token",
        "https://me:token@host.org/o/n.git",
        "git@host.org:o/n.git",
        "ssh://git@host.org:22/o/n",
        "https://host.org/o/n/",
    ],
)
def test_the_web_address_of_a_file_has_no_secrets(remote):
    assert find_web_address("README.md") is None
    subprocess.run(["git", "remote", "add", "origin", remote], check=True)
    assert find_web_address("README.md") == "https://host.org/o/n/blob/HEAD/README.md"


def test_a_remote_that_is_a_folder_has_no_web_address():
    subprocess.run(["git", "remote", "add", "origin", "/srv/repository"], check=True)
    assert find_web_address("README.md") is None


def test_name_and_description_show_no_secrets_of_a_changed_address(write_params):
    address = {"data.source": "csv", "data.path": "http://u:PLANTED@h/a.csv?sig=PLANTED"}
    params = load_flat(write_params, address)
    shown = [make_run_name(params), *make_run_tags(STATISTICS, params).values()]
    assert "PLANTED" not in "".join(shown)
    assert "http://***@h/a.csv?sig=***" in shown[0]


def test_a_message_of_git_shows_no_secrets():
    with pytest.raises(UserError, match=r"(?s)git ls-remote failed .*http://127.0.0.1:9/n\?sig=\*\*\*") as caught:
        run_git(Path(), "ls-remote", "http://me:PLANTED@127.0.0.1:9/n?sig=PLANTED")
    assert "PLANTED" not in str(caught.value)
