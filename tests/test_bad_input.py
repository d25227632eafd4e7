"""Input that is broken or hostile ends a stage with code 1 and one clear message; earlier outputs stay as they are."""

import importlib
import os
import re
import resource
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from support.bad_inputs import CASES, GOOD, Case
from support.checkout import wait_for_senders
from support.project import ROOT, make_params
from support.warm_python import find_python

from stages import evaluate, train
from stages.core.files import read_json
from stages.core.stage import run_stage
from stages.data import downloads

SMALL = {
    "data.max_train_samples": 40,
    "data.max_test_samples": 10,
    "model.name": "tiny",
    "model.revision": None,
    "train.freeze_layers": 0,
    "train.precision": "fp32",
    "tracking.log_model": False,
    "tracking.system_metrics": False,
}
NOT_COMPARED = (".cache", "mlruns")  # downloads to be resumed, and MLflow's record of the runs that failed
AS_COMMANDS = {
    "tar with a path outside",
    "a wrong checksum",
    "csv with names that control terminals",
    "params that are a bomb",
    "a model of pickled weights",
    "truncated tokens",
}


def write_params(folder: Path, changes: dict) -> None:
    text = yaml.safe_dump(make_params(SMALL | changes), sort_keys=False)
    (folder / "params.yaml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def after_all_stages(tmp_path_factory, tiny_model):
    """A workspace in which all stages have run."""
    folder = tmp_path_factory.mktemp("stages")
    shutil.copytree(tiny_model, folder / "tiny")
    write_params(folder, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DVC_ROOT", str(folder))
        for stage in ("download", "base_model", "preprocess", "train", "evaluate"):
            run_stage(stage, importlib.import_module(f"stages.{stage}").main)
    wait_for_senders(folder)
    return folder


@pytest.fixture(scope="module")
def server():
    """The address of a server that stops within `truncated.csv`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = GOOD.encode()
            self.send_response(404 if self.path == "/none.csv" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:100] if self.path == "/truncated.csv" else body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.fixture
def prepared(after_all_stages, server, tmp_path, monkeypatch):
    """Prepare a case in a copy of that workspace, which becomes the current folder and main checkout."""

    def prepare(case: Case) -> Path:
        folder = tmp_path / "copy"
        shutil.copytree(after_all_stages, folder, symlinks=True)
        values = {key: re.sub("^SERVER", server, v) if isinstance(v, str) else v for key, v in case.params.items()}
        write_params(folder, values)
        case.prepare(folder)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("DVC_ROOT", str(folder))
        return folder

    return prepare


def read_all(folder: Path) -> dict[str, bytes | None]:
    """The bytes of every file, None for a folder."""
    paths = [path for path in folder.rglob("*") if path.relative_to(folder).parts[0] not in NOT_COMPARED]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def check_message(case: Case, stderr: str) -> None:
    _, _, message = stderr.partition(f"\nerror in stage {case.stage}: ")
    assert re.search(case.message, message, re.DOTALL)
    assert "error in stage" not in message
    assert "Traceback" not in stderr
    assert not set(map(chr, range(32))) & set(message.replace("\n", ""))
    assert len(message) < 2500


def test_there_are_more_than_forty_cases_of_every_group():
    assert len(CASES) == len({case.name for case in CASES}) >= 40
    assert {case.stage for case in CASES} == {"download", "base_model", "preprocess", "train", "evaluate"}
    assert {case.name for case in CASES} > AS_COMMANDS


@pytest.mark.parametrize("case", [case for case in CASES if not case.limit], ids=lambda case: case.name)
def test_bad_input_ends_with_one_message_and_changes_nothing(case, prepared, monkeypatch, capsys):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    folder = prepared(case)
    before = read_all(folder)
    with pytest.raises(SystemExit) as stop:
        run_stage(case.stage, importlib.import_module(f"stages.{case.stage}").main)
    assert isinstance(stop.value.code, str)  # Python prints it and exits with code 1
    check_message(case, capsys.readouterr().err + stop.value.code)
    assert read_all(folder) == before


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.limit or case.name in AS_COMMANDS], ids=lambda case: case.name
)
def test_the_command_ends_with_code_1(case, prepared):
    folder = prepared(case)
    before = read_all(folder)

    def limit_files() -> None:  # like a full disk: Python ignores SIGXFSZ, so that writing fails
        resource.setrlimit(resource.RLIMIT_FSIZE, (case.limit, case.limit))

    result = subprocess.run(
        [find_python(), "-m", f"stages.{case.stage}"], env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, preexec_fn=limit_files if case.limit else None,
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    check_message(case, result.stderr)
    assert read_all(folder) == before


def test_a_command_with_a_full_disk_leaves_no_bytecode_of_which_the_end_is_missing(tmp_path):
    """Python 3.11 does not notice that a file was written in part; no later import of it would work."""
    for name, code in {"__init__": "", "start": "import stages.large", "large": "x = 1\n" * 1000}.items():
        (tmp_path / "stages").mkdir(exist_ok=True)
        (tmp_path / f"stages/{name}.py").write_text(code)
    subprocess.run(
        [find_python(), "-m", "stages.start"], cwd=tmp_path, check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )  # fmt: skip
    assert not list(tmp_path.rglob("*.pyc"))


def test_broken_cached_features_and_journals_end_no_run(prepared, capsys):
    folder = prepared(Case("cached features", "train", "", params={"train.freeze_layers": 1}))
    run_stage("train", train.main)
    outputs = read_all(folder / "models")
    for path in folder.glob(".cache/frozen/*/*.safetensors"):
        os.truncate(path, 100)
    for key in ("of another run", read_json(folder / "models/mlflow_run.json")["run"]):
        (folder / "mlruns/journal" / key).mkdir(parents=True, exist_ok=True)
        (folder / "mlruns/journal" / key / "events.jsonl").write_text("junk\n")
        (folder / "mlruns/journal" / key / "state.json").write_text("{")
    for stage in (train, evaluate):
        run_stage(stage.__name__.removeprefix("stages."), stage.main)
    assert read_all(folder / "models") | {"mlflow_run.json": None} == outputs | {"mlflow_run.json": None}
    assert "of another run: broken, and cannot be sent; delete it" in capsys.readouterr().err
