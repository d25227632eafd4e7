"""A small Hugging Face hub on loopback: one model repository, served as the real one answers."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serve(name: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the hub's address and the list of the paths that were asked for."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            path = self.path.split("?")[0]
            if path.startswith(f"/api/models/{name}/revision/"):
                self.info(path.rsplit("/", 1)[-1])
            elif path.startswith(f"/api/models/{name}/tree/"):
                self.tree(path.rsplit("/", 1)[-1])
            elif path.startswith(f"/{name}/resolve/"):
                self.file(*path.removeprefix(f"/{name}/resolve/").split("/", 1))
            else:
                self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        do_HEAD = do_GET

        def info(self, revision: str) -> None:
            if self.known(revision):
                files = [{"rfilename": path.name} for path in sorted(folder.iterdir())]
                self.answer(200, json.dumps({"id": name, "sha": COMMIT, "siblings": files}).encode())

        def tree(self, revision: str) -> None:
            if self.known(revision):
                files = [
                    {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": etag(path)}
                    for path in sorted(folder.iterdir())
                ]
                self.answer(200, json.dumps(files).encode())

        def file(self, revision: str, path: str) -> None:
            if self.known(revision):
                if (folder / path).is_file():
                    self.answer(200, (folder / path).read_bytes(), {"ETag": f'"{etag(folder / path)}"'})
                else:
                    self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})

        def known(self, revision: str) -> bool:
            if revision in (COMMIT, "main"):
                return True
            self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return False

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
