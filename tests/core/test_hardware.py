import pytest
import torch

from stages.core.hardware import describe_processor


@pytest.mark.parametrize("number", [1, 2])
def test_all_gpus_are_named(monkeypatch, number):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device}")
    assert describe_processor() == "GPU 0, GPU 1"[: 7 * number - 2]


def test_without_a_gpu_instructions_and_threads_of_the_cpu_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert describe_processor() == f"{torch.backends.cpu.get_cpu_capability()}, 2 threads"
