"""A temporary clone of the repository as it is now, in which the pipeline starts from nothing."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.data_section import Data
from stages.core.files import cache_dir, is_url, main_checkout
from stages.core.git import run_git
from stages.core.param_sections import Model

# Settings of the user's other work: experiments that DVC runs, the MLflow store, the cache of downloads and features.
REMOVED_VARIABLES = ("DVC_", "MLFLOW_", "PIPELINE_CACHE")


@contextmanager
def temporary_folder(keep: bool) -> Iterator[Path]:
    """Yield a new folder, which is deleted at the end unless `keep` is true."""
    folder = Path(tempfile.mkdtemp(prefix="verify-")).resolve()
    try:
        yield folder
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def list_local_paths(data: Data, model: Model) -> list[str]:
    """The paths on this machine that params may name; a hub id looks like one too."""
    return [path for path in (data.path, model.name) if path and not is_url(path)]


def make_clone(folder: Path, local_paths: list[str]) -> Path:
    """Clone the checkout into `folder` and return the path of the clone.

    It has the tracked files as they are now, no outputs and no cache. `local_paths` are paths outside of git that
    params name. A relative one must lead to the same file from the clone: therefore the clone is as deep in folders
    of the same names as the checkout is, and has a link where the user's file or folder is.
    """
    root = main_checkout()
    relative = [os.path.relpath(root / path, root) for path in local_paths if not Path(path).is_absolute()]
    depth = 1 + max((Path(path).parts.count("..") for path in relative), default=0)
    clone = folder.joinpath(*root.parts[1:][-depth:])
    clone.mkdir(parents=True)
    run_git(root, "status")  # updates the index: stash fails at files that were only copied or written again
    commit = run_git(root, "stash", "create") or run_git(root, "rev-parse", "HEAD")  # no stash: nothing is uncommitted
    run_git(clone, "init", "-q")
    run_git(clone, "fetch", "-q", "--depth", "1", str(root), commit)
    run_git(clone, "checkout", "-q", "--detach", "FETCH_HEAD")
    (clone / "dvc.lock").unlink(missing_ok=True)
    # Its own cache, also where the user's config names a shared one. With autostage, DVC does not print how to add
    # the lock to git.
    (clone / ".dvc/config.local").write_text("[cache]\n    dir = cache\n[core]\n    autostage = true\n")
    for path in relative:
        link(clone / path, root / path)
    link(clone / ".cache/downloads", cache_dir() / "downloads")
    return clone


def link(path: Path, target: Path) -> None:
    """Make `path` a link to `target`, unless `path` exists or `target` does not."""
    path = Path(os.path.normpath(path))
    if target.exists() and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target.resolve())


def clean_environment(clone: Path) -> dict[str, str]:
    """The environment for commands in the clone: they neither find nor change anything of the user's other work."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(REMOVED_VARIABLES)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | {"PATH": path, "DVC_SITE_CACHE_DIR": str(clone / ".dvc/tmp/site")}
