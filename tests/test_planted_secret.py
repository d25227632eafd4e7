"""A data source whose URL has secrets: no output of the pipeline shows them."""

import functools
import http.server
import threading

import pytest

from stages import base_model, download, evaluate, preprocess, train
from stages.core.errors import UserError
from stages.core.stage import report_errors
from stages.data.demo_corpus import make_reviews

PLANTED = b"PLANTED"


@pytest.fixture
def address(tmp_path_factory, workspace, monkeypatch):
    """The URL of a CSV file, with a user, a password and a token."""
    folder = tmp_path_factory.mktemp("served")
    rows = [f'"{text}",{label}\n' for text, label in make_reviews("train", 0)[:200] if '"' not in text]
    (folder / "rows.csv").write_text("".join(["text,label\n", *rows]))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:PLANTED-1@127.0.0.1:{server.server_port}/rows.csv?sig=PLANTED-2&more=PLANTED-3"
        server.shutdown()


def find_secrets(folder):
    """The files that have a planted secret."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 30
    return [str(path.relative_to(folder)) for path in files if PLANTED in path.read_bytes()]


def test_no_output_of_a_run_has_the_secrets_of_the_source(workspace, write_params, tiny_model, address, capfd):
    changes = {"data.source": "csv", "data.path": address, "model.name": str(tiny_model), "train.freeze_layers": 0}
    write_params(changes | {"preprocess.max_length": 32, "train.precision": "fp32"})
    (workspace / "dvc.lock").write_text((workspace / "params.yaml").read_text())  # DVC writes params into it
    for stage in (download, base_model, preprocess, train, evaluate):
        stage.main()
    assert sorted(find_secrets(workspace)) == ["dvc.lock", "params.yaml"]
    shown = capfd.readouterr()
    assert PLANTED.decode() not in shown.out + shown.err
    copies = [path.read_text() for name in ("dvc.lock", "params.yaml") for path in workspace.glob(f"mlruns/**/{name}")]
    assert {copy.count("/rows.csv?sig=***") for copy in copies} == {1}
    assert (workspace / "mlruns/mlflow.db").stat().st_size > 10_000
    for name in ("reports/report.html", "data/raw/dataset.json", "data/source/csv"):
        assert "/rows.csv?sig=***" in (workspace / name).read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.path": "/none.csv?sig=PLANTED"}, "cannot be fetched (404"),
        ({"data.path": "[/a.csv?sig=PLANTED"}, "is not a URL"),
        ({"data.max_size_gb": 1e-6}, "contains more than the 1e-06 GB"),
        ({"data.sha256": "0" * 64}, "its SHA-256 is"),
        ({"data.test_fraction": 0.999}, "data.test_fraction"),
        ({"data.source": "demo"}, "data.source 'demo' has none"),
        ({"data.text_column": "none"}, "has no column 'none'"),
        ({"data.encoding": "utf-16"}, "cannot be read as utf-16"),
    ],
)
def test_no_message_has_the_secrets_of_the_source(workspace, write_params, address, capsys, changes, message):
    host = address.partition("/rows")[0]
    changes = {key: host + value if key == "data.path" else value for key, value in changes.items()}
    write_params({"data.source": "csv", "data.path": address} | changes)
    with pytest.raises(SystemExit) as caught, report_errors("download"):
        download.main()
    assert message in str(caught.value.code)
    assert PLANTED.decode() not in str(caught.value.code) + "".join(capsys.readouterr())


def test_a_server_that_does_not_answer_is_named_without_secrets(workspace, write_params, capsys):
    write_params({"data.source": "csv", "data.path": "http://me:PLANTED@127.0.0.1:9/a.csv?sig=PLANTED"})
    with pytest.raises(UserError, match=r"http://\*\*\*@127.0.0.1:9/a.csv\?sig=\*\*\* cannot be fetched") as caught:
        download.main()
    assert PLANTED.decode() not in str(caught.value)
