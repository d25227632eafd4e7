"""Commands of git, and what it knows of a checkout."""

import re
import subprocess
from pathlib import Path

from stages.core.errors import UserError
from stages.core.secrets import redact

# https://host/owner/name.git, ssh://git@host/owner/name, git@host:owner/name.git; user, token and port are left out.
REMOTE = re.compile(
    r"(?:(?:https?|ssh)://(?:[^@/]*@)?|[^@/:]+@)([^/:@]+)(?::\d+)?[/:]([^?#@]+?)(?:\.git)?/?(?:[?#].*)?"
)


def run_git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it prints; UserError when it fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"git cannot be run ({error}).") from None
    if done.returncode:
        raise UserError(f"git {arguments[0]} failed in {folder}: {done.stderr.strip()}")
    return done.stdout.strip()


def query_git(*arguments: str) -> str:
    """What git prints in the current folder; nothing when it fails, as outside of a repository."""
    try:
        return run_git(Path(), *arguments)
    except UserError:
        return ""


def find_web_address(path: str) -> str | None:
    """The address of a file of the repository in a browser; None when the remote `origin` is not on the web."""
    url = REMOTE.fullmatch(redact(query_git("remote", "get-url", "origin")))
    return f"https://{url[1]}/{url[2]}/blob/HEAD/{path}" if url else None
