"""`mlflow models serve` of a registered model answers HTTP requests."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
import requests

from stages.inference.served_model import choose_precision


@pytest.fixture(scope="module")
def url(finished, tmp_path_factory):
    """The champion of a finished run, served from an empty folder."""
    checkout = finished.copy(tmp_path_factory.mktemp("served") / "checkout")
    (run,) = checkout.runs()
    client, name = mlflow.MlflowClient(), "text-classifier"
    model_id = run.outputs.model_outputs[0].model_id
    client.create_registered_model(name)
    version = client.create_model_version(name, f"models:/{model_id}", run.info.run_id, model_id=model_id)
    client.set_registered_model_alias(name, "champion", version.version)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"-m mlflow models serve -m models:/{name}@champion --env-manager local --host 127.0.0.1 -p {port}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"  # MLflow starts uvicorn
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{checkout.folder}/mlruns/mlflow.db"
    folder = tmp_path_factory.mktemp("serving")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command.split()], cwd=folder, env=environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield wait_until_ready(f"http://127.0.0.1:{port}", process, folder / "log")
    finally:
        os.killpg(process.pid, 15)
        process.wait()
        mlflow.set_tracking_uri(None)


def wait_until_ready(url, process, log):
    for _ in range(1200):
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(f"{url}/ping", timeout=5).ok:
                return url
        except requests.RequestException:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def post(url, **body):
    return requests.post(f"{url}/invocations", json=body, timeout=60)


def test_texts_are_answered_with_label_names_and_probabilities(url):
    answers = post(url, inputs=["I loved it.", "So dull."]).json()["predictions"]
    assert [set(answer) for answer in answers] == [{"label", "probability", "truncated"}] * 2
    for answer in answers:
        assert answer["label"] in ("negative", "positive")
        assert 0.5 <= answer["probability"] <= 1


def test_html_is_cleaned_as_for_training(url):
    plain, html = post(url, inputs=["So dull & long.", "<p>So <b>dull</b> &amp;<br/>long."]).json()["predictions"]
    assert plain == html


def test_a_text_that_is_too_long_is_marked_as_truncated(url):
    answers = post(url, inputs=["dull " * 500, "dull"]).json()["predictions"]
    assert [answer["truncated"] for answer in answers] == [True, False]


def test_the_server_answers_as_the_command_line_does(url, finished):
    served = post(url, inputs=["I loved it."]).json()["predictions"][0]
    printed = finished.run("python", "-m", "stages.predict", "I loved it.").split()
    assert printed == [served["label"], f"{served['probability']:.4f}"]


def test_an_input_that_cannot_be_used_is_an_error_that_names_its_number(url):
    answer = post(url, inputs=["good", " "])
    assert answer.status_code == 400
    assert "input 2: empty text." in answer.text


def test_a_precision_that_this_machine_lacks_is_replaced_with_a_warning(capsys):
    assert choose_precision("fp32") == "fp32"
    assert choose_precision("fp16") == "auto"
    assert "warning: evaluate.precision: found fp16; it needs a GPU" in capsys.readouterr().err
