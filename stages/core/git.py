"""What git knows of the checkout."""

import re
import subprocess

# https://host/owner/name.git, ssh://git@host/owner/name, git@host:owner/name.git; user, token and port are left out.
REMOTE = re.compile(r"(?:(?:https?|ssh)://(?:[^@/]*@)?|[^@/:]+@)([^/:]+)(?::\d+)?[/:](.+?)(?:\.git)?/?")


def git(*arguments: str) -> str:
    """What git prints, or nothing outside of a repository."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def web_address(path: str) -> str | None:
    """Where a browser finds a file of the repository; None when its `origin` is not on the web."""
    url = REMOTE.fullmatch(git("remote", "get-url", "origin"))
    return f"https://{url[1]}/{url[2]}/blob/HEAD/{path}" if url else None
