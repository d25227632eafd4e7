"""Training on several processes, started by torchrun under DVC or by hand: equal results, and nobody waits forever."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time

import mlflow
import numpy as np
import psutil
import pytest
import torch
import yaml
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file
from support.launcher import TORCHRUN, TRAIN, count_errors, find_ranks, finish, start, start_ranks, start_torchrun
from support.project import change

from stages.core.cache import MANIFEST

LAUNCH = " ".join([*TORCHRUN, "2"])
CHANGES = {
    "data.max_train_samples": 199,  # the last batch of an epoch has one row, and the other ranks none
    "model.name": "without",  # dropout
    "train.freeze_layers": 1,
    "train.num_train_epochs": 6,
    "train.per_device_train_batch_size": 99,
    "train.precision": "fp32",
    "evaluate.precision": "fp32",
    "tracking.log_model": False,
}


@pytest.fixture(scope="module")
def checkout(finished, tmp_path_factory):
    """A checkout whose model has no dropout, before `train`."""
    checkout = finished.copy(tmp_path_factory.mktemp("ranks") / "checkout")
    shutil.copytree(checkout.folder / "tiny", checkout.folder / "without")
    set_dropout(checkout.folder / "without", 0.0)
    set_params(checkout.folder, CHANGES)
    checkout.run("dvc", "repro", "-q", "preprocess")
    yield checkout
    mlflow.set_tracking_uri(None)


@pytest.fixture
def copy(checkout, tmp_path):
    return checkout.copy(tmp_path / "checkout")


def set_params(folder, changes):
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(change(yaml.safe_load(path.read_text()), changes), sort_keys=False))


def set_dropout(model, value):
    """Of all layers; `model.dropout` is that of the head."""
    path = model / "config.json"
    path.write_text(re.sub(r'(dropout_prob": )[\d.]+', rf"\g<1>{value}", path.read_text()))


def train(checkout, count, **variables):
    """Train from the beginning on so many processes; return the weights."""
    shutil.rmtree(checkout.folder / ".cache/checkpoints", ignore_errors=True)
    finish(start_torchrun(count, checkout.folder, **variables))
    return load_file(checkout.folder / "models/classifier/model.safetensors")


def read_features(folder):
    """The cached features by the key of their row."""
    found = {}
    for file in folder.glob("*/features.safetensors"):
        values = load_arrays(file)
        ends = np.cumsum(values["positions"])
        for key, end, size in zip(values["rows"], ends, values["positions"], strict=True):
            found[key.tobytes()] = values["hidden"][end - size : end].tobytes()
    return found


def test_one_two_and_three_processes_train_the_same_model_on_the_same_features(copy):
    weights, features = {}, {}
    for count in (1, 2, 3):
        shutil.rmtree(copy.folder / ".cache/frozen", ignore_errors=True)
        weights[count] = train(copy, count)
        features[count] = read_features(copy.folder / ".cache/frozen")
        assert copy.json("metrics/train.json")["ranks"] == count
    assert len(features[1]) > 150
    assert features[1] == features[2] == features[3]
    for count in (2, 3):
        differences = [
            (weights[1][name] - value).abs().max()
            for name, value in weights[count].items()
            if not name.endswith("key.bias")  # softmax cancels it: its gradient is rounding, which Adam makes large
        ]
        assert 0 < max(differences) < 1e-5
    again = train(copy, 2)
    assert all(torch.equal(again[name], value) for name, value in weights[2].items())


def test_repro_with_a_launcher_makes_one_run_and_without_it_nothing_is_repeated(copy):
    before = len(copy.runs())
    output = copy.run("dvc", "repro", LAUNCH=LAUNCH, OMP_NUM_THREADS="1")
    assert output.count("features of the frozen layers for train") == 1  # of rank 0 alone
    assert "Traceback" not in output
    run = copy.runs()[-1]
    assert (len(copy.runs()), run.info.status, run.data.tags["train.ranks"]) == (before + 1, "FINISHED", "2")
    assert "2 processes" in (copy.folder / "reports/report.html").read_text()
    assert "Running stage" not in copy.run("dvc", "repro")


def read_outputs(checkout):
    names = ("models/classifier/model.safetensors", "plots/training.csv", "plots/validation.csv", "metrics/train.json")
    return {name: (checkout.folder / name).read_bytes() for name in names}


def newest_checkpoint(checkout):
    """The number of the last step that has a checkpoint; 0 for none."""
    found = [path.parent.name for path in (checkout.folder / ".cache/checkpoints").glob(f"*/*/{MANIFEST}")]
    return max((int(name.rpartition("-")[2]) for name in found), default=0)


def wait_for_checkpoint(checkout, number):
    """Wait until so many steps, or more, have a checkpoint."""
    for _ in range(6000):
        if newest_checkpoint(checkout) >= number:
            return
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint of step {number} was written")


def test_a_training_that_is_killed_anywhere_resumes_to_the_same_bytes(copy):
    set_params(copy.folder, {"train.num_train_epochs": 20, "model.name": "with"})
    shutil.copytree(copy.folder / "without", copy.folder / "with")
    set_dropout(copy.folder / "with", 0.1)
    copy.run("dvc", "repro", "-q", "base_model")
    train(copy, 2)
    expected = read_outputs(copy)
    shutil.rmtree(copy.folder / ".cache/checkpoints")
    for victim, kind in (
        ("rank 0", signal.SIGKILL), ("rank 1", signal.SIGKILL), ("torchrun", signal.SIGKILL),
        ("torchrun", signal.SIGTERM), ("rank 1", signal.SIGTERM),
    ):  # fmt: skip
        before = newest_checkpoint(copy)  # a rank may have written more of them between our look and its end
        process = start_torchrun(2, copy.folder, CHECKPOINT_SECONDS="0")
        wait_for_checkpoint(copy, before + 3)  # of 60 steps
        ranks = find_ranks(process.pid)
        assert len(ranks) == 2
        started = time.monotonic()
        (process if victim == "torchrun" else ranks[int(victim[-1])]).send_signal(kind)
        output = process.communicate(timeout=60)[0]
        assert psutil.wait_procs(ranks, timeout=30)[1] == []
        assert time.monotonic() - started < 30
        assert process.returncode != 0
        assert count_errors(output) <= 1, output
        if kind == signal.SIGKILL and victim == "rank 1":
            assert re.search(r"rank 1 on .* \(process \d+\) ended without a message", output)
    process = start_torchrun(2, copy.folder)
    assert "resuming after step" in finish(process)
    assert read_outputs(copy) == expected


def run_ranks(folders, code=1, **variables):
    """The outputs of ranks that all end with this code."""
    return [finish(process, code) for process in start_ranks(folders, **variables)]


def test_ranks_that_see_other_params_code_or_data_end_with_one_message(copy, checkout, tmp_path):
    other, before = checkout.copy(tmp_path / "other"), (copy.folder / "models/mlflow_run.json").read_bytes()
    shared = {"PIPELINE_CACHE": str(tmp_path / "cache")}
    set_params(other.folder, {"train.learning_rate": 5e-3})
    outputs = run_ranks([copy.folder, other.folder], **shared)
    message = r"rank 1 on .* sees other params than rank 0 .*\(train.learning_rate: 0.005, not 0.001\)"
    assert re.search(message, "".join(outputs))
    assert sum(map(count_errors, outputs)) == 1
    set_params(other.folder, {"train.learning_rate": 1e-3})
    with (other.folder / "stages/training/losses.py").open("a") as file:
        file.write("# changed\n")
    assert "sees other code than rank 0" in "".join(run_ranks([copy.folder, other.folder], **shared))
    assert (copy.folder / "models/mlflow_run.json").read_bytes() == before


def test_hosts_without_a_shared_file_system_are_an_error(copy, checkout, tmp_path):
    other = checkout.copy(tmp_path / "other")
    outputs = run_ranks([copy.folder, other.folder])
    assert re.search(
        r"rank 1 on .*other/.cache: is not that of rank 0; all hosts must see the same checkout", outputs[1]
    )
    assert [count_errors(output) for output in outputs] == [0, 1]


def test_a_rank_that_never_comes_is_named(copy):
    (process, *_) = start_ranks([copy.folder], WORLD_SIZE="3", SECONDS_TO_COME="2")
    assert "after 2 seconds, ranks 1, 2 of 3 have not come; those of" in finish(process, 1)


def test_a_port_in_use_is_an_error(copy):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        (process,) = start_ranks([copy.folder], WORLD_SIZE="2", MASTER_PORT=str(other.getsockname()[1]))
        output = finish(process, 1)
    assert re.search(r"rank 0 on .*: no connection at MASTER_ADDR 127.0.0.1, MASTER_PORT \d+ .*in use", output)
    assert "Traceback" not in output


@pytest.fixture
def two_hosts():
    """Two network namespaces that reach each other: their names and addresses."""
    if not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip("needs root and iproute2, to make network namespaces")
    names = [f"ranks-{os.getpid()}-{side}" for side in "ab"]
    addresses = ["10.83.0.1", "10.83.0.2"]
    try:
        for name in names:
            run_ip("netns", "add", name)
        run_ip("link", "add", "va", "netns", names[0], "type", "veth", "peer", "name", "vb", "netns", names[1])
        for name, device, address in zip(names, ("va", "vb"), addresses, strict=True):
            run_ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
            run_ip("-n", name, "link", "set", device, "up")
            run_ip("-n", name, "link", "set", "lo", "up")
        yield names, addresses
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def run_ip(*arguments):
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"network namespaces cannot be made here: {result.stderr}")


def test_two_hosts_train_the_model_of_two_processes_on_one(copy, two_hosts):
    expected = train(copy, 2)
    shutil.rmtree(copy.folder / ".cache")
    names, addresses = two_hosts
    processes = [
        start(
            ["ip", "netns", "exec", name, "torchrun", "--nnodes", "2", "--nproc_per_node", "1",
             "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{addresses[0]}:29500", "--local-addr", address,
             "--rdzv-conf", f"is_host={int(address == addresses[0])}", *TRAIN],
            copy.folder,
        )
        for name, address in zip(names, addresses, strict=True)
    ]  # fmt: skip
    for process in processes:
        finish(process)
    found = load_file(copy.folder / "models/classifier/model.safetensors")
    assert all(torch.equal(found[name], value) for name, value in expected.items())
