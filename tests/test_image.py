"""`docker/Dockerfile` where no engine of containers is needed: its files, packages, user and steps."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.dockerfile import read_dockerfile, read_json_lines
from support.project import ROOT
from support.served import ServedModel, make_command, make_served_model

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
    ignored, *sent = (ROOT / ".dockerignore").read_text().split()
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


@pytest.mark.parametrize("pairs", [False, True])
def test_its_check_of_the_model_passes_for_texts_and_for_pairs(pairs, tiny_model, tmp_path):
    made = make_served_model(tiny_model, tmp_path, pairs)
    (tmp_path / "model").symlink_to(made)
    check = [rest for name, rest in read_dockerfile() if name == "RUN"][-1]
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": programs, "PYTHONPATH": f"{made}/code", "HOME": str(tmp_path)}
    subprocess.run(check, shell=True, cwd=tmp_path, env=environment, check=True)


@pytest.mark.skipif("FRESH_IMAGE" not in os.environ, reason="installs 60 packages; `make test-image` runs it")
def test_its_steps_make_a_server_in_a_fresh_environment(tiny_model, tmp_path):
    """COPY and RUN in a folder in place of /app, with a Python that has what the image installs; prints its size."""
    made, app = make_served_model(tiny_model, tmp_path), tmp_path / "app"
    app.mkdir()
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    environment = {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(app / "model/code"),
        "HOME": "/tmp",
    }
    for name, rest in read_dockerfile():
        if name == "COPY":
            *sources, target = rest.split()
            for source in sources:
                copy(made / Path(source).relative_to(MADE) if source.startswith(MADE) else ROOT / source, app / target)
        elif name == "RUN":
            subprocess.run(rest, shell=True, cwd=app, env=environment, check=True)
    packages = subprocess.check_output([python, "-m", "pip", "freeze"], text=True)
    assert "torch" not in packages
    server = ServedModel(app / "model", app, command=lambda model, port: [str(python), *make_command(model, port)[1:]])
    assert server.post(inputs=["So dull."]).json()["predictions"][0]["label"] in ("bad", "good")
    assert server.stop() == 0
    print({path.name: f"{measure_size(path) / 1e6:.0f} MB" for path in (tmp_path / "venv/lib", app / "model")})


def copy(source, target):
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)


def measure_size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
