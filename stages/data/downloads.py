"""Files that are downloaded from a URL into the cache folder."""

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
from stages.data.archives import SizeLimit

TIMEOUT_SECONDS = 30  # to connect, and between two parts of the response
ATTEMPTS = 5  # without a new byte, before the download fails


def fetch(url: str, expected_sha256: str | None, max_bytes: float) -> Path:
    """Download `url`, with a progress bar, and return the path of the file.

    A download that was interrupted is resumed, in this run or a later one, if the server still has the same file.
    With a checksum, the file is verified, and a copy in the cache with this checksum is used without the network.
    UserError when the server cannot be reached or returns an error, when it sends more than `max_bytes`, or when the
    checksum differs.
    """
    try:
        name = re.sub(r"[^\w.-]", "_", unquote(urlsplit(url).path.rsplit("/", 1)[-1]))[-100:] or "download"
    except ValueError as error:
        raise UserError(f"data.path: {url} is not a URL ({error}).") from None
    path = cache_dir() / "downloads" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
    if expected_sha256 and path.is_file() and sha256(path) == expected_sha256.lower():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with FileLock(f"{part}.lock"):
        with note_path(part):
            download(url, part, name, max_bytes)
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


def download(url: str, part: Path, name: str, max_bytes: float) -> None:
    """Receive the rest of the file `part`; retry until ATTEMPTS in a row brought no new byte.

    UserError when that fails, or when the file is larger than `max_bytes`: then nothing of it is kept.
    """
    failures = 0
    most = partial_size(part)
    while failures < ATTEMPTS:
        try:
            receive(url, part, name, SizeLimit(f"data.path: {url}", max_bytes))
            version_file(part).unlink(missing_ok=True)
            return
        except UserError:
            part.unlink(missing_ok=True)
            version_file(part).unlink(missing_ok=True)
            raise
        except requests.HTTPError as error:
            raise UserError(f"data.path: {url} cannot be fetched ({error}).") from None
        except requests.RequestException as error:
            failures = 0 if partial_size(part) > most else failures + 1
            most = max(most, partial_size(part))
            reason = error
            if not part.exists():
                break  # the server did not respond
            time.sleep(failures)
    kept = "; what was received is kept, run it again to resume" if has_version(part) else ""
    raise UserError(f"data.path: {url} cannot be fetched ({reason}){kept}.")


def partial_size(part: Path) -> int:
    """Bytes that were received."""
    return part.stat().st_size if part.exists() else 0


def version_file(part: Path) -> Path:
    """The file with the version of an incomplete download: the ETag or date of the URL's content."""
    return part.with_name(part.name + ".version")


def has_version(part: Path) -> bool:
    return part.exists() and version_file(part).exists() and bool(version_file(part).read_text())


def receive(url: str, part: Path, name: str, limit: SizeLimit) -> None:
    """Append the rest of the content of `url` to `part`, or start again when the server has another version of it."""
    size = partial_size(part)
    headers = {"Accept-Encoding": "identity"}
    if has_version(part):
        # If-Range (RFC 9110, 13.1.5): status 206 and the rest of that version, or status 200 and all of another one.
        headers |= {"Range": f"bytes={size}-", "If-Range": version_file(part).read_text()}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        content_range = response.headers.get("Content-Range", "")
        if response.status_code == 416 and content_range == f"bytes */{size}":
            return  # `part` is complete
        # Some servers compress what should not be. The bytes of a range are then not those of the file.
        is_packed = response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity")
        version = "" if is_packed else read_version(response)
        resumed = response.status_code == 206 and content_range.startswith(f"bytes {size}-") and not is_packed
        if response.status_code in (206, 416) and not (resumed and version in ("", headers.get("If-Range"))):
            if "Range" not in headers:
                raise requests.HTTPError(
                    f"the server returned status {response.status_code} to a request for the complete file"
                )
            part.unlink()  # the response is not the rest of it
            receive(url, part, name, limit)
            return
        response.raise_for_status()
        start = size if resumed else 0
        total = None if is_packed else read_length(response, start)
        limit.check(total or start)
        limit.count(start)
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=name) as bar,
        ):
            version_file(part).write_text(version)
            for piece in response.iter_content(1 << 16):
                limit.count(len(piece))
                bar.update(file.write(piece))


def read_length(response: requests.Response, start: int) -> int | None:
    """The size of the file in bytes, if the server names it, of which the response begins at byte `start`."""
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() and length != "0" else None


def read_version(response: requests.Response) -> str:
    """The ETag of a response, or its date: a weak ETag (`W/...`) does not promise the same bytes (RFC 9110, 8.8.1)."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
