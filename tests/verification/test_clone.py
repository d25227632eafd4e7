import os
import subprocess

import pytest

from stages.core.errors import UserError
from stages.core.git import run_git
from stages.verification.clone import clean_environment, make_clone, temporary_folder


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with one commit, current directory and main checkout."""
    root = tmp_path / "home/project"
    (root / ".dvc").mkdir(parents=True)
    for name in (".dvc/config", "kept.txt", "changed.txt", "dvc.lock"):
        (root / name).write_text("old")
    monkeypatch.chdir(root)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("PIPELINE_CACHE", raising=False)
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run(["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", *arguments], check=True)
    return root


def test_the_clone_has_tracked_files_as_they_are_now_and_no_lock(repository, tmp_path):
    (repository / "changed.txt").write_text("new")
    (repository / "untracked.txt").touch()
    before = run_git(repository, "status", "--porcelain")
    clone = make_clone(tmp_path / "temporary", [])
    assert {path.name for path in clone.iterdir()} == {".git", ".dvc", "kept.txt", "changed.txt"}
    assert (clone / "changed.txt").read_text() == "new"
    assert run_git(repository, "status", "--porcelain") == before
    assert run_git(repository, "stash", "list") == ""


def test_files_that_were_written_again_as_they_were_are_no_change(repository, tmp_path):
    os.utime(repository / "kept.txt", (1, 1))
    assert (make_clone(tmp_path / "temporary", []) / "kept.txt").read_text() == "old"


def test_a_clone_of_a_shallow_clone_with_nothing_uncommitted(repository, tmp_path, monkeypatch):
    run_git(tmp_path, "clone", "-q", "--depth", "1", repository.as_uri(), "shallow")
    monkeypatch.chdir(tmp_path / "shallow")
    clone = make_clone(tmp_path / "temporary", [])
    assert (clone / "kept.txt").read_text() == "old"
    assert run_git(clone, "rev-parse", "HEAD") == run_git(repository, "rev-parse", "HEAD")


def test_a_relative_path_leads_to_the_same_file_from_the_clone(repository, tmp_path):
    inside, outside = "data/reviews.csv", "../../elsewhere/reviews.csv"
    for path in (inside, outside):
        (repository / path).parent.mkdir(exist_ok=True)
        (repository / path).write_text(path)
    used = [inside, outside, "../project/kept.txt", "kept.txt", "../missing", "someone/model", str(repository)]
    clone = make_clone(tmp_path / "temporary", used)
    assert clone.is_relative_to(tmp_path / "temporary")
    assert [(clone / path).read_text() for path in (inside, outside)] == [inside, outside]
    assert (clone / "../project/kept.txt").resolve() == clone / "kept.txt"
    assert not (clone / "kept.txt").is_symlink()
    assert not (clone / "someone").exists()


def test_downloads_are_shared_with_the_clone_and_nothing_else_of_the_cache(repository, tmp_path):
    for folder in ("downloads", "frozen"):
        (repository / ".cache" / folder).mkdir(parents=True)
    clone = make_clone(tmp_path / "temporary", [])
    assert [path.name for path in (clone / ".cache").iterdir()] == ["downloads"]
    assert (clone / ".cache/downloads").resolve() == repository / ".cache/downloads"


def test_the_environment_leads_to_nothing_of_the_users(tmp_path, monkeypatch):
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "PIPELINE_CACHE"):
        monkeypatch.setenv(name, "the user's")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment = clean_environment(tmp_path)
    assert "the user's" not in environment.values()
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["DVC_SITE_CACHE_DIR"].startswith(str(tmp_path))


def test_the_temporary_folder_is_deleted_unless_it_is_to_be_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(UserError, match="stopped"), temporary_folder(keep=False) as folder:
        (folder / "file").touch()
        raise UserError("stopped")
    assert list(tmp_path.iterdir()) == []
    with temporary_folder(keep=True) as folder:
        pass
    assert folder.is_dir()
    assert f"kept: {folder}" in capsys.readouterr().out


def test_a_folder_without_git_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"git status failed in .*: fatal: not a git repository"):
        make_clone(tmp_path / "temporary", [])
