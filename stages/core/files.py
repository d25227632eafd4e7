"""Files and folders that appear complete or not at all."""

import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from stages.core.errors import UserError


def main_checkout() -> Path:
    """The checkout that the user works in.

    DVC runs queued experiments in copies under `.dvc/tmp/exps` and names the main checkout in `DVC_ROOT`.
    """
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


def resolve_path(path: str) -> Path:
    """The absolute path: `~` is the home folder, a relative path starts at the main checkout."""
    return main_checkout() / os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser fails for unknown users


def is_url(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def cache_dir() -> Path:
    """The folder for what later runs can use again: `PIPELINE_CACHE`, else `.cache` of the main checkout."""
    return Path(os.environ.get("PIPELINE_CACHE") or main_checkout() / ".cache")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(paths: Iterable[Path]) -> str:
    """SHA-256 of the names and bytes of files, and of all files in folders."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"{file.relative_to(path.parent)} {sha256(file)}\n".encode())
    return digest.hexdigest()


def check_sha256(path: Path, expected: str, name: str, remedy: str) -> None:
    """Raise UserError unless the file has the expected SHA-256."""
    found = sha256(path)
    if found != expected.lower():
        raise UserError(f"{name}: its SHA-256 is {found}, expected {expected.lower()}; {remedy}.")


def read_json(path: Path, keys: Iterable[str] = ()) -> Any:
    """Parse one of the pipeline's own JSON files; UserError when it is missing, broken, or lacks one of `keys`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: missing; run `dvc repro`, which makes it.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and run `dvc repro`.") from None
    lacking = [key for key in keys if not isinstance(value, dict) or key not in value]
    if lacking:
        raise UserError(f"{path}: has no {', '.join(lacking)}; delete it and run `dvc repro`.")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write JSON with a fixed layout, so that equal values give equal bytes."""
    with new_file(path) as part:
        part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def note_path(path: Path) -> Iterator[None]:
    """Add to errors, which often name no file, a note of what was being written; `describe_system_error` reads it."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        error.add_note(f"{path}: cannot be written")
        raise


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it replaces `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with note_path(path):
            yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def remove_parts(path: Path) -> None:
    """Remove what `new_file` left beside `path` when its process was killed; nothing may be writing `path` now."""
    part = re.compile(rf"\.{re.escape(path.name)}\.\d+\.part")
    for left in path.parent.iterdir():
        if part.fullmatch(left.name):
            left.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill; it replaces `path` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path, "part")
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    part.chmod(0o755)
    try:
        with note_path(path):
            yield part
        if path.is_dir():
            # A folder with files cannot be replaced in one step (rename(2)). The old one is moved first, so that a kill
            # between the steps loses no file.
            old = part.with_suffix(".old")
            path.rename(old)
            part.rename(path)
        else:
            path.unlink(missing_ok=True)
            part.rename(path)
        remove_leftovers(path, "old")
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_leftovers(path: Path, suffix: str) -> None:
    """Remove the folders that `new_folder` left beside `path`, such as those of a process that was killed."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.{suffix}"):
        shutil.rmtree(left)
