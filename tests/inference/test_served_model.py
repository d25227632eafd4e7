"""`mlflow models serve` of a registered model answers HTTP requests."""

import json
import os
import socket
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pandas as pd
import pytest
import requests
from mlflow.models import infer_signature
from mlflow.pyfunc.scoring_server import predictions_to_json
from support.champion import make_champion

from stages.inference.output_columns import Answer
from stages.inference.served_model import ServedClassifier, choose_precision
from stages.tracking.signature import make_signature


@pytest.fixture(scope="module")
def url(finished, tmp_path_factory):
    """The champion of a finished run, served from an empty folder."""
    checkout = finished.copy(tmp_path_factory.mktemp("served") / "checkout")
    model = make_champion(checkout)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"-m mlflow models serve -m {model} --env-manager local --host 127.0.0.1 -p {port}"
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


ANSWERS = [
    Answer(["a", "b"], [0.9, 0.6], {"a": 0.9, "b": 0.6, "c.d e": 0.1}, False, False),
    Answer([], [], {"a": 0.3, "b": 0.2, "c.d e": 0.1}, False, True),
]


def post(url, **body):
    return requests.post(f"{url}/invocations", json=body, timeout=60)


def test_texts_are_answered_with_label_names_and_probabilities(url):
    answers = post(url, inputs=["I loved it.", "So dull."]).json()["predictions"]
    assert [tuple(answer) for answer in answers] == [Answer._fields] * 2
    for answer in answers:
        assert answer["scores"].keys() == {"negative", "positive"}
        assert answer["scores"][answer["label"]] == answer["probability"]
        assert answer["abstained"] is False
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


def test_a_request_that_is_too_large_is_an_error_with_the_limit(url):
    answer = post(url, inputs=["dull " * 2_000_000])
    assert answer.status_code == 400
    assert "found 10,000,000 characters; one request may have 1,000,000" in answer.text
    assert "one request may have 1,000:" in post(url, inputs=["good"] * 1001).text


def test_a_precision_that_this_machine_lacks_is_replaced_with_a_warning(capsys):
    assert choose_precision("fp32") == "fp32"
    assert choose_precision("fp16") == "auto"
    assert "warning: evaluate.precision: found fp16; it needs a GPU" in capsys.readouterr().err


def test_answers_of_several_labels_are_plain_json():
    served = ServedClassifier()
    served.predictor = SimpleNamespace(predict=lambda texts, locations: ANSWERS)
    sent = StringIO()
    predictions_to_json(served.predict(None, pd.DataFrame({"text": ["a", "b"]})), sent)
    assert json.loads(sent.getvalue())["predictions"] == [answer._asdict() for answer in ANSWERS]


def test_the_signature_has_the_fields_of_an_answer():
    for answer, has_several in ((ANSWERS[0], True), (Answer("a", 0.9, {"a": 0.9, "b": 0.1}, False, False), False)):
        outputs = make_signature(["a text"], has_several).outputs
        assert tuple(outputs.input_names()) == Answer._fields
        found = infer_signature(["a text"], pd.DataFrame([answer], columns=Answer._fields)).outputs
        kinds = zip(outputs, found, strict=True)
        assert [one.name for one, other in kinds if one.type != other.type] == ["scores"]  # inferred: one key a label
