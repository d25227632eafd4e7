"""Files fetched from a URL into the cache folder."""

import hashlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from tqdm import tqdm

from stages.lib.errors import UserError
from stages.lib.files import cache_dir, check_sha256, new_file, sha256

TIMEOUT_SECONDS = 30  # to connect, and between two pieces of the answer


def is_url(path: str) -> bool:
    return path.startswith(("http://", "https://"))


def fetch(url: str, expected_sha256: str | None) -> Path:
    """Download `url`, with a progress bar, and return where it lies.

    With a checksum, the file is verified, and a copy in the cache that matches is used again without the network.
    UserError when the server cannot be reached or refuses, or the checksum differs.
    """
    name = unquote(urlsplit(url).path.rsplit("/", 1)[-1]) or "download"
    path = cache_dir() / "downloads" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
    if expected_sha256 and path.is_file() and sha256(path) == expected_sha256.lower():
        return path
    with new_file(path) as part:
        try:
            with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS) as answer:
                answer.raise_for_status()
                size = int(answer.headers.get("Content-Length", 0)) or None
                with part.open("wb") as file, tqdm(total=size, unit="B", unit_scale=True, desc=name) as bar:
                    for piece in answer.iter_content(1 << 20):
                        bar.update(file.write(piece))
        except requests.RequestException as error:
            raise UserError(f"data.path: {url} cannot be fetched ({error}).") from None
        if expected_sha256:
            check_sha256(part, expected_sha256, f"data.sha256: {url}", "fix the key, or find out why the file changed")
    return path
