"""`docker/Dockerfile` without an engine of containers: its files, its packages, its user."""

import re
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.dockerfile import read_dockerfile, read_json_lines
from support.project import ROOT

from stages.tracking.exported_model import PACKAGES

MADE = "models/served"  # by `make image`


def read_names(path):
    """The packages of a file of requirements."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines()]
    return {canonicalize_name(re.split("[=<>;@ ]", line)[0]) for line in lines if line}


def find_closure(names):
    """The packages and all that they need, as they are installed here."""
    found, left = set(), set(names)
    while left:
        found.add(name := left.pop())
        needed = (Requirement(line) for line in requires(name) or [])
        left |= {canonicalize_name(one.name) for one in needed if not one.marker or one.marker.evaluate({"extra": ""})}
        left -= found
    return found


def test_its_files_exist_and_no_others_are_sent_to_the_engine():
    copied = [source for name, rest in read_dockerfile() if name == "COPY" for source in rest.split()[:-1]]
    assert len(copied) == 4
    assert all((ROOT / source).is_file() or source.startswith(MADE) for source in copied)
    ignored, *sent = (ROOT / "docker/Dockerfile.dockerignore").read_text().split()
    assert ignored == "*"
    assert {source if source.startswith("!") else f"!{source}" for source in copied} >= set(sent) - {f"!{MADE}"}
    assert f"!{MADE}" in sent
    assert f"/{MADE}" in (ROOT / ".gitignore").read_text().split()


def test_its_packages_are_those_of_the_export_without_torch_and_all_have_versions():
    names = read_names("docker/requirements.txt")
    assert names == {*PACKAGES, "mlflow-skinny", "pandas", "psutil"} - {"mlflow"}
    closure = find_closure(names)
    assert not closure & {"torch", "transformers", "mlflow", "scipy", "pyarrow"}
    assert {"onnxruntime", "uvicorn", "fastapi"} <= closure
    assert closure <= read_names("constraints.txt")


def test_its_server_is_the_first_process_is_not_root_and_tells_its_health():
    lines = read_dockerfile()
    assert lines[0] == ("FROM", "python:3.11-slim")
    assert dict(lines)["USER"].isdecimal()
    health, command = read_json_lines("CMD", lines)
    assert "/health" in health[-1]
    assert command[:3] == ["python", "-m", "stages.serve"]
