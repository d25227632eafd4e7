"""`python -m stages.serve` under load, with requests that it has to refuse, and when it is to end."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import mlflow
import psutil
import pytest
import requests
from support.dockerfile import read_dockerfile, read_json_lines
from support.served import ServedModel, make_served_model, read_answer

from stages.core.errors import UserError
from stages.core.request_limits import check_size
from stages.serve import load_model

TEXTS = ["Dull.", "I loved it. " * 30, "<p>So &amp; so</p>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def model(tiny_model, folder):
    return make_served_model(tiny_model, folder)


def read_image_command(model, port):
    """The image's command, with this model and port."""
    command = read_json_lines("CMD", read_dockerfile())[-1]
    changes = {"python": sys.executable, "model": str(model), "0.0.0.0": "127.0.0.1", "8000": str(port)}
    return [changes.get(part, part) for part in command]


@pytest.fixture(scope="module")
def server(model, folder):
    server = ServedModel(model, folder)
    yield server
    assert server.stop() == 0


def test_many_clients_at_once_get_the_answers_of_one_alone_and_memory_stays(server):
    alone = [server.post(inputs=[text]).json() for text in TEXTS]
    with ThreadPoolExecutor(8) as clients:
        list(clients.map(lambda number: server.post(inputs=[TEXTS[number % 3]]), range(100)))
        before = server.memory()
        answers = list(clients.map(lambda number: server.post(inputs=[TEXTS[number % 3]]).json(), range(200)))
    for number, answer in enumerate(answers):
        (found,), (expected,) = answer["predictions"], alone[number % 3]["predictions"]
        assert (found["label"], found["truncated"]) == (expected["label"], expected["truncated"])
        assert found["scores"] == pytest.approx(expected["scores"], abs=1e-6)
    assert server.memory() < before + 30


def test_the_server_keeps_nothing_in_the_users_folder(server):
    """As ONNX Runtime does, which writes an identifier there before it reports its use."""
    assert server.post(inputs=["good"]).ok
    assert not [path for path in server.home.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"inputs": ["a', "Ensure that input is a valid JSON formatted string"),
        (b'{"inputs": ["\xff"]}', "Ensure that input is a valid JSON formatted string"),
        (b"", "Ensure that input is a valid JSON formatted string"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": [' + b"1" * 5000 + b"]}", "a number of too many digits"),
        (b'["a"]', "exactly one of the input fields"),
        (b'{"inputs": []}', "Model inference is missing inputs"),
        (b'{"inputs": [""]}', "input 1: empty text"),
        (json.dumps({"inputs": ["a"] * 1001}).encode(), "found 1,001 texts; one request may have 1,000"),
        (json.dumps({"inputs": ["a" * 1_000_001]}).encode(), "found 1,000,001 characters; one request may have 1,0"),
    ],
    ids=range(10),
)
def test_a_request_that_cannot_be_used_is_status_400_with_a_reason(body, message, server):
    answer = server.post(body)
    assert answer.status_code == 400
    assert message in answer.json()["message"]


def test_a_content_type_that_is_missing_or_wrong_is_status_415(server):
    for headers in ({}, {"Content-Type": "text/plain"}):
        answer = requests.post(f"{server.url}/invocations", data=b'{"inputs": ["a"]}', headers=headers, timeout=60)
        assert answer.status_code == 415
        assert "application/json" in answer.text


def test_a_request_of_10_mb_is_status_413_takes_no_memory_and_others_are_answered_meanwhile(server):
    body = json.dumps({"inputs": ["dull " * 2_000_000]}).encode()
    before = server.memory()
    with server.begin(len(body)) as connection:
        connection.sendall(body[: len(body) // 2])
        assert server.post(inputs=["good"]).status_code == 200
        connection.sendall(body[len(body) // 2 :])
        status, answer = read_answer(connection)
    assert status == 413
    assert "found a request of 10,000,016 bytes; one may have 2,000,000" in answer
    assert server.post(body).status_code == 413
    assert server.memory() < before + 8


def test_health_and_version_are_told_and_only_this_machine_is_listened_to(server):
    assert requests.get(f"{server.url}/ping", timeout=60).status_code == 200
    assert requests.get(f"{server.url}/version", timeout=60).text.startswith("3.")
    addresses = {one.laddr.ip for one in psutil.Process(server.process.pid).net_connections() if one.status == "LISTEN"}
    assert addresses == {"127.0.0.1"}


def test_the_server_of_an_export_has_neither_torch_nor_transformers_in_memory(server):
    libraries = [one.path for one in psutil.Process(server.process.pid).memory_maps()]
    assert any("onnxruntime" in path for path in libraries)
    assert not [path for path in libraries if "torch" in path]


def test_the_image_is_healthy_and_after_sigterm_running_requests_are_answered_before_it_ends(model, folder):
    server = ServedModel(model, folder, command=read_image_command)
    check = [part.replace(":8000", f":{server.port}") for part in read_json_lines("CMD", read_dockerfile())[0]]
    assert subprocess.run([sys.executable, *check[1:]], check=False).returncode == 0
    many, one = (json.dumps({"inputs": texts}).encode() for texts in (["so good " * 40] * 1000, ["good"]))
    with server.begin(len(many)) as computed, server.begin(len(one)) as sent:
        computed.sendall(many)
        sent.sendall(one[:5])
        assert server.post(inputs=["good"]).status_code == 200  # so the two before it were taken
        server.process.terminate()
        while server.listens():
            time.sleep(0.05)
        sent.sendall(one[5:])
        answers = [read_answer(connection) for connection in (computed, sent)]
    assert [(status, len(json.loads(answer)["predictions"])) for status, answer in answers] == [(200, 1000), (200, 1)]
    assert server.process.wait(timeout=30) == 0
    assert subprocess.run([sys.executable, *check[1:]], check=False, capture_output=True).returncode == 1


def test_a_request_that_does_not_end_does_not_keep_the_server_from_ending(model, folder):
    server = ServedModel(model, folder, "--grace-seconds", "1")
    with server.begin(100):
        assert server.post(inputs=["good"]).status_code == 200
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 10


def test_without_a_model_it_is_one_message(tmp_path):
    with pytest.raises(UserError, match=r"--model .*nowhere: cannot be loaded"):
        load_model(str(tmp_path / "nowhere"), max_texts=1)


def test_from_python_a_model_has_no_limits(model):
    assert len(mlflow.pyfunc.load_model(str(model)).predict(["good"] * 1001)) == 1001


def test_both_texts_of_pairs_count():
    check_size([("ab", "cd")], max_texts=1, max_characters=4)
    with pytest.raises(UserError, match="found 4 characters; one request may have 3"):
        check_size([("ab", "cd")], max_texts=1, max_characters=3)
