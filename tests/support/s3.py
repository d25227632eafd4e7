"""A server of S3's protocol on 127.0.0.1 for the time of a test."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def run_s3(folder: Path) -> Iterator[str]:
    """The address of a server with the bucket `store`; the user's own settings of S3 are not read."""
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("wb") as log:
        for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
            patch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            (folder / name).touch()
            patch.setenv(name, str(folder / name))
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]  # 0: any free port
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            while not (address := re.search(r"http://127\.0\.0\.1:\d+", (folder / "log").read_text())):
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
            boto3.client("s3", endpoint_url=address[0]).create_bucket(Bucket="store")
            yield address[0]
        finally:
            server.terminate()
            server.wait(30)
