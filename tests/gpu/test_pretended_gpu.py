"""What a GPU allows and refuses: the pretended one and, with REAL_GPU=1, a real one, which shows that it is true."""

import re

import pytest
from support.gpu import IS_REAL, get_result, run_checks
from support.pretended_gpu import library

TWO_DEVICES = "Expected all tensors to be on the same device"
ALLOWED = {
    "train a layer": ["cuda:0"] * 8,
    "draw numbers": {"same": True, "other": False, "cpu_changed": False},
    "pin": [True, True, False, 3 * 2**10],
    "index a GPU's tensor by the CPU's": "cuda:0",
    "multiply by a number of the CPU": "cuda:0",
    "attend with a mask": "cuda:0",
}
REFUSED = {
    "inputs left on the CPU": TWO_DEVICES,
    "weights left on the CPU": TWO_DEVICES,
    "tokens left on the CPU": TWO_DEVICES,
    "mask left on the CPU": TWO_DEVICES,
    "labels left on the CPU": TWO_DEVICES,
    "index a tensor of the CPU by a GPU's": "indices should be either on cpu or on the same device",
    "numpy of a GPU's tensor": "can't convert cuda:0 device type tensor to numpy",
    "pin a GPU's tensor": "cannot pin 'torch.cuda.FloatTensor'",
    "exhaust memory": "OutOfMemoryError: CUDA out of memory",
    "use a GPU that is missing": "invalid device ordinal",
    "use it in a fork": "Cannot re-initialize CUDA in forked subprocess",
}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return run_checks(tmp_path_factory.mktemp("one"), "support.gpu_programs.one_gpu")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return run_checks(
        tmp_path_factory.mktemp("two"), "support.gpu_programs.two_gpus", gpus=2, PRETENDED_GPU_CAPABILITY="7.0"
    )


@pytest.mark.parametrize("name", ALLOWED)
def test_what_a_gpu_allows_is_done_on_it(one, name):
    assert get_result(one, name) == ALLOWED[name]


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_gpu_refuses_is_an_error(one, name):
    assert re.search(REFUSED[name], one[name].get("message", "no error"))


def test_memory_is_counted(one):
    found = get_result(one, "measure memory")
    assert (found["held"], found["peak"], found["after"]) == (2**26, 2**26, 0)
    assert found["taken"] >= 2**26


def test_visible_gpus_can_be_chosen_until_cuda_starts(two):
    assert get_result(two, "before") == [0, 1, 1, 2, 1, 0, 0]
    assert get_result(two, "initialized before") is False
    assert get_result(two, "after") == [1, 1, 1]
    assert get_result(two, "initialized after") is True


@pytest.mark.skipif(IS_REAL, reason="only pretended GPUs have known names and any capability")
def test_the_chosen_gpu_is_the_one_that_is_used(two):
    assert get_result(two, "number") == "GPU-1"
    assert get_result(two, "precision") == "fp16"
    expected = "UserError: train.precision: found bf16; Pretended GPU does not support it in hardware"
    assert expected in two["unsupported precision"]["message"]


def test_tensors_of_two_gpus_are_not_mixed(tmp_path):
    found = run_checks(tmp_path, "support.gpu_programs.one_gpu", "second: current", "second: add", gpus=2)
    assert get_result(found, "second: current") == ["cuda:1", "cuda:0", 1]
    assert TWO_DEVICES in found["second: add"]["message"]


def test_there_is_a_reason_where_no_gpu_can_be_pretended(monkeypatch):
    monkeypatch.setattr(library, "TORCH", "2.12.0")
    assert re.match(r"it is written for torch 2\.12\.0, and this is 2\.1", library.find_obstacle())
    monkeypatch.setattr("sys.platform", "darwin")
    assert library.find_obstacle() == "it is written for Linux, and this is darwin"
