"""MLflow's pages in the Chromium that is installed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@contextmanager
def serve_mlflow_ui(folder: Path) -> Iterator[str]:
    """Run `mlflow ui` for a checkout's runs during the block; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = f"sqlite:///{folder}/mlruns/mlflow.db"
    command = [
        sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store, "--port", str(port), "--workers", "1"
    ]  # fmt: skip
    with (folder / "mlruns/ui.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", server, folder / "mlruns/ui.log")
        yield f"http://127.0.0.1:{port}/"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def wait_until_ready(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            requests.get(f"{address}/health", timeout=1)
            return
        except requests.RequestException:
            time.sleep(0.2)
    raise TimeoutError(log.read_text())


@contextmanager
def open_page(width: int = 1600, height: int = 900) -> Iterator[Any]:
    """Open a page of the browser, which waits up to two minutes for each element."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = chromium.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(120_000)
        yield page
        chromium.close()
