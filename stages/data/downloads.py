"""Files fetched from a URL into the cache folder."""

import hashlib
import re
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from filelock import FileLock
from tqdm import tqdm

from stages.core.errors import UserError
from stages.core.files import cache_dir, check_sha256, note_path, sha256

TIMEOUT_SECONDS = 30  # to connect, and between two pieces of the answer
ATTEMPTS = 5  # that bring nothing new, before giving up


def is_url(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def fetch(url: str, expected_sha256: str | None) -> Path:
    """Download `url`, with a progress bar, and return where it lies.

    A download that broke off is continued, in this run or a later one, where the server still has the same file.
    With a checksum, the file is verified, and a copy in the cache that matches is used again without the network.
    UserError when the server cannot be reached or refuses, or the checksum differs.
    """
    try:
        name = re.sub(r"[^\w.-]", "_", unquote(urlsplit(url).path.rsplit("/", 1)[-1]))[-100:] or "download"
    except ValueError as error:
        raise UserError(f"data.path: {url} is no URL ({error}).") from None
    path = cache_dir() / "downloads" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
    if expected_sha256 and path.is_file() and sha256(path) == expected_sha256.lower():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with FileLock(f"{part}.lock"):
        with note_path(part):
            finish(url, part, name)
        if expected_sha256:
            try:
                check_sha256(
                    part, expected_sha256, f"data.sha256: {url}", "fix the key, or find out why the file changed"
                )
            except UserError:
                part.unlink()
                raise
        part.replace(path)
    return path


def finish(url: str, part: Path, name: str) -> None:
    """Receive what `part` lacks, in several attempts as long as they bring something new."""
    failures, most = 0, size_of(part)
    while failures < ATTEMPTS:
        try:
            receive(url, part, name)
            version_of(part).unlink(missing_ok=True)
            return
        except requests.HTTPError as error:
            raise UserError(f"data.path: {url} cannot be fetched ({error}).") from None
        except requests.RequestException as error:
            failures = 0 if size_of(part) > most else failures + 1
            reason, most = error, max(most, size_of(part))
            if not part.exists():
                break  # the server was not reached
            time.sleep(failures)
    kept = "; what was received is kept, run it again to go on" if has_version(part) else ""
    raise UserError(f"data.path: {url} cannot be fetched ({reason}){kept}.")


def size_of(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def version_of(part: Path) -> Path:
    """The file that says which version of a URL's content an unfinished download is of (its ETag or date)."""
    return part.with_name(part.name + ".version")


def has_version(part: Path) -> bool:
    return part.exists() and version_of(part).exists() and bool(version_of(part).read_text())


def receive(url: str, part: Path, name: str) -> None:
    """Append to `part` what it lacks of the content of `url`, or begin anew where the server's file is another one."""
    size, headers = size_of(part), {"Accept-Encoding": "identity"}
    if has_version(part):
        # If-Range (RFC 9110, 13.1.5): the rest of that version with status 206, else all of it with 200.
        headers |= {"Range": f"bytes={size}-", "If-Range": version_of(part).read_text()}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
        span = answer.headers.get("Content-Range", "")
        if answer.status_code == 416 and span == f"bytes */{size}":
            return  # nothing is left to send
        version = version_in(answer)
        resumed = answer.status_code == 206 and span.startswith(f"bytes {size}-")
        if answer.status_code in (206, 416) and not (resumed and version in ("", headers.get("If-Range"))):
            if "Range" not in headers:
                raise requests.HTTPError(f"the server answers {answer.status_code}, although the whole was asked for")
            part.unlink()  # what came is not the rest of it
            receive(url, part, name)
            return
        answer.raise_for_status()
        start, length = (size if resumed else 0), int(answer.headers.get("Content-Length", 0)) or None
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=length and start + length, initial=start, unit="B", unit_scale=True, desc=name) as bar,
        ):
            version_of(part).write_text(version)
            for piece in answer.iter_content(1 << 16):
                bar.update(file.write(piece))


def version_in(answer: requests.Response) -> str:
    """What an answer's content can be recognized by; a weak ETag (`W/...`) does not promise the same bytes."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified", "")
