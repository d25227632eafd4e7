"""A temporary clone of the repository as it is now, in which the pipeline starts from nothing."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.errors import UserError
from stages.core.files import cache_dir, main_checkout

# Settings of the user's other work: experiments that DVC runs, the MLflow store, the cache of downloads and outputs.
NOT_PASSED_ON = ("DVC_", "MLFLOW_", "PIPELINE_CACHE")


@contextmanager
def temporary_folder(keep: bool) -> Iterator[Path]:
    """A new folder, removed at the end unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="verify-")).resolve()
    try:
        yield folder
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def make_clone(folder: Path, used: list[str]) -> Path:
    """Clone the checkout into `folder`: tracked files as they are now, no outputs, no cache; return where it lies.

    `used` are the paths outside of git that params name. The clone lies as deep in folders of the same names as the
    checkout does, so that a relative one leads to the same place, where a link stands for what the user has there.
    """
    root = main_checkout()
    relative = [os.path.relpath(root / path, root) for path in used if not Path(path).is_absolute()]
    depth = 1 + max((Path(path).parts.count("..") for path in relative), default=0)
    clone = folder.joinpath(*root.parts[1:][-depth:])
    clone.mkdir(parents=True)
    git(root, "status")  # or stash fails at files that were copied or written again as they were
    commit = git(root, "stash", "create") or git(root, "rev-parse", "HEAD")  # no stash: nothing is uncommitted
    git(clone, "init", "-q")
    git(clone, "fetch", "-q", "--depth", "1", str(root), commit)
    git(clone, "checkout", "-q", "--detach", "FETCH_HEAD")
    (clone / "dvc.lock").unlink(missing_ok=True)
    # A cache of its own, also where the user's config shares one; staged in git, or DVC says at length how to.
    (clone / ".dvc/config.local").write_text("[cache]\n    dir = cache\n[core]\n    autostage = true\n")
    for path in relative:
        link(clone / path, root / path)
    link(clone / ".cache/downloads", cache_dir() / "downloads")
    return clone


def link(path: Path, target: Path) -> None:
    """Make `path` a link to `target`, unless there is something already, or no target."""
    path = Path(os.path.normpath(path))
    if target.exists() and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target.resolve())


def git(folder: Path, *arguments: str) -> str:
    """What git prints; UserError when it fails."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"git {arguments[0]} failed in {folder}: {done.stderr.strip()}")
    return done.stdout.strip()


def clean_environment(clone: Path) -> dict[str, str]:
    """The environment for commands in the clone: nothing that they find or leave is the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED_ON)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PATH": path, "DVC_SITE_CACHE_DIR": str(clone / ".dvc/tmp/site")}
