"""A small Hugging Face hub on loopback: model and data set repositories, which answers as the real one does."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serve(**repositories: dict[str, Path]) -> Iterator[tuple[str, list[str]]]:
    """Serve `models={id: folder}` and `datasets={id: folder}`; yield the address and the list of requested paths."""
    requested: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            path = self.path.split("?")[0]
            api = re.fullmatch(
                r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(/.*)?)?", path
            )
            file = re.fullmatch(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
            kind, name = (api or file or ["", "", ""])[1] or "models", (api or file or ["", "", ""])[2]
            folder = repositories.get(kind, {}).get(name)
            revision = (api and api[4]) or (file and file[3]) or COMMIT
            if folder is None:
                self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif revision not in (COMMIT, "main"):
                self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            elif file:
                self.send_file(folder / file[4])
            elif api[3] == "tree":
                self.send_entries(folder, (api[5] or "").strip("/"))
            else:
                siblings = [{"rfilename": path.relative_to(folder).as_posix()} for path in list_files(folder)]
                self.send_json({"id": name, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False})

        do_HEAD = do_GET

        def send_entries(self, folder: Path, under: str) -> None:
            paths = [
                path for path in sorted(folder.rglob("*")) if path.relative_to(folder).as_posix().startswith(under)
            ]
            self.send_json([make_entry(folder, path) for path in paths])

        def send_file(self, path: Path) -> None:
            if path.is_file():
                self.answer(200, path.read_bytes(), {"ETag": f'"{sha1(path)}"'})
            else:
                self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})

        def send_json(self, value: object) -> None:
            self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requested
        server.shutdown()


def list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def make_entry(folder: Path, path: Path) -> dict:
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
    return {"type": "file", "path": name, "size": path.stat().st_size, "oid": sha1(path)}


def sha1(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
