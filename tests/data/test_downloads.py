import gzip
import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stages.core.errors import UserError
from stages.data import downloads


def fetch(url, expected_sha256, max_bytes=1e9):
    return downloads.fetch(url, expected_sha256, max_bytes)


CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@contextmanager
def server(content=CONTENT, breaks_after=(), etag='"v1"', length=True):
    """Serve one file; the first responses stop after so many bytes. Yields the URL and the requested ranges."""
    asked, breaks = [], list(breaks_after)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            asked.append(wanted)
            known = wanted and self.headers.get("If-Range") == etag
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if known else 0
            self.send_response(206 if known else 200)
            if known:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if length:
                self.send_header("Content-Length", str(len(content) - start))
            if etag:
                self.send_header("ETag", etag)
            self.end_headers()
            self.wfile.write(content[start : start + breaks.pop(0)] if breaks else content[start:])

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/data.csv", asked
        http.shutdown()


def test_an_interrupted_download_is_resumed_where_it_stopped(workspace):
    with server(breaks_after=[100_000, 200_000]) as (url, asked):
        assert fetch(url, SHA256).read_bytes() == CONTENT
    assert asked[0] is None
    received = [int(wanted.removeprefix("bytes=").removesuffix("-")) for wanted in asked[1:]]
    assert 0 < received[0] <= 100_000 < received[1] <= 300_000


def test_a_later_run_resumes_unless_the_file_has_changed(workspace, monkeypatch):
    monkeypatch.setattr("stages.data.downloads.ATTEMPTS", 1)
    with server(breaks_after=[100_000, 0]) as (url, asked):
        with pytest.raises(UserError, match=r"cannot be fetched .* what was received is kept, run it again to resume"):
            fetch(url, None)
        assert fetch(url, None).read_bytes() == CONTENT
        assert asked[2].startswith("bytes=")
    for part in (workspace / ".cache/downloads").glob("*.part"):
        pytest.fail(f"{part} is left over")


def test_another_version_is_downloaded_from_its_beginning(workspace, monkeypatch):
    monkeypatch.setattr("stages.data.downloads.ATTEMPTS", 1)
    with server(breaks_after=[100_000, 0]) as (url, _), pytest.raises(UserError, match="is kept"):
        fetch(url, None)
    (part,) = (workspace / ".cache/downloads").glob("*.part")
    with server(CONTENT[::-1], etag='"v2"') as (url, asked):
        other = part.with_name(f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-data.csv.part")
        part.rename(other)
        part.with_name(part.name + ".version").rename(other.with_name(other.name + ".version"))
        assert fetch(url, None).read_bytes() == CONTENT[::-1]
        assert asked[0].startswith("bytes=")


def test_without_a_version_nothing_is_resumed(workspace):
    with server(breaks_after=[100_000], etag="") as (url, asked):
        assert fetch(url, SHA256).read_bytes() == CONTENT
    assert asked == [None, None]


def test_a_verified_copy_needs_no_server_and_a_wrong_one_is_an_error(workspace):
    with server() as (url, asked):
        fetch(url, SHA256)
        with pytest.raises(UserError, match=r"data.sha256: .* its SHA-256 is .*, expected 0000"):
            fetch(url, "0" * 64)
    assert fetch(url, SHA256).read_bytes() == CONTENT
    assert len(asked) == 2
    with pytest.raises(UserError, match=r"data.path: http.* cannot be fetched"):
        fetch(url, None)


@pytest.mark.parametrize("status", [206, 416])
def test_a_response_that_is_not_the_rest_of_the_file_is_not_used(workspace, monkeypatch, status):
    """A server that supports Range but not If-Range, after its file was replaced by another one."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers.get("Range"))
            answers = [(200, '"v1"', CONTENT[:100_000]), (status, '"v2"', CONTENT[100_000:]), (200, '"v2"', CONTENT)]
            code, etag, body = answers[len(asked) - 1]
            self.send_response(code)
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(CONTENT) if len(asked) == 1 else len(body)))
            if code != 200:
                complete = f"bytes 65536-{len(CONTENT) - 1}/{len(CONTENT)}" if code == 206 else "bytes */50"
                self.send_header("Content-Range", complete)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        assert fetch(f"http://127.0.0.1:{http.server_port}/data.csv", None).read_bytes() == CONTENT
        http.shutdown()
    assert [wanted is None for wanted in asked] == [True, False, True]


def test_an_invalid_url_is_an_error(workspace):
    with pytest.raises(UserError, match=r"data.path: http://\[x/a.csv is not a URL"):
        fetch("http://[x/a.csv", None)


@pytest.mark.parametrize("status", [206, 416])
def test_a_server_that_never_sends_the_complete_file_is_an_error(workspace, status):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match=rf"the server returned status {status} to a request for the complete file"):
            fetch(f"http://127.0.0.1:{http.server_port}/data.csv", None)
        http.shutdown()


@pytest.mark.parametrize("length", [True, False])
def test_a_file_that_is_too_large_is_an_error_that_names_the_key_and_nothing_is_kept(workspace, length):
    message = r"data.path: http.*/data.csv: contains more than the 0.0005 GB that data.max_size_gb allows"
    with server(length=length) as (url, _):
        with pytest.raises(UserError, match=message):
            fetch(url, None, max_bytes=500_000)
        assert [path.suffix for path in (workspace / ".cache/downloads").iterdir()] == [".lock"]
        assert fetch(url, None, max_bytes=len(CONTENT)).read_bytes() == CONTENT


def test_what_was_received_before_counts(workspace, monkeypatch):
    monkeypatch.setattr("stages.data.downloads.ATTEMPTS", 1)
    with server(breaks_after=[300_000, 0]) as (url, asked):
        with pytest.raises(UserError, match="run it again to resume"):
            fetch(url, None)
        with pytest.raises(UserError, match=r"contains more than the 0.0005 GB"):
            fetch(url, None, max_bytes=500_000)
        assert asked[2].startswith("bytes=")
        assert fetch(url, None).read_bytes() == CONTENT
        assert asked[3] is None


def test_a_server_that_compresses_the_rest_of_a_file_is_asked_for_all_of_it(workspace):
    """It ignores that the request allows no compression, and counts the range in compressed bytes."""
    asked, packed = [], gzip.compress(CONTENT)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            asked.append((wanted, self.headers["Accept-Encoding"]))
            body = packed[int(wanted.removeprefix("bytes=").removesuffix("-")) :] if wanted else packed
            first = len(asked) == 1
            self.send_response(206 if wanted else 200)
            self.send_header("ETag", '"v1"')
            if wanted:
                self.send_header("Content-Range", f"{wanted.replace('=', ' ')}{len(CONTENT) - 1}/{len(CONTENT)}")
            if not first:
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(CONTENT) if first else len(body)))
            self.end_headers()
            self.wfile.write(CONTENT[:100_000] if first else body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        assert fetch(f"http://127.0.0.1:{http.server_port}/data.csv", None).read_bytes() == CONTENT
        http.shutdown()
    assert [wanted is None for wanted, _ in asked] == [True, False, True]
    assert {encoding for _, encoding in asked} == {"identity"}


def test_a_compressed_answer_that_was_interrupted_is_not_resumed(workspace, monkeypatch):
    monkeypatch.setattr("stages.data.downloads.ATTEMPTS", 2)
    asked, packed = [], gzip.compress(CONTENT, 0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers.get("Range"))
            self.send_response(200)
            self.send_header("ETag", '"v1"')
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(packed)))
            self.end_headers()
            self.wfile.write(packed[:200_000] if len(asked) == 1 else packed)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        assert fetch(f"http://127.0.0.1:{http.server_port}/data.csv", None).read_bytes() == CONTENT
        http.shutdown()
    assert asked == [None, None]
