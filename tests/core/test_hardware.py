import torch

from stages.core.hardware import describe_processor


def test_the_gpu_that_is_used_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"GPU {device or 0}")
    assert describe_processor() == "GPU 0"


def test_without_a_gpu_instructions_and_threads_of_the_cpu_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert describe_processor() == f"{torch.backends.cpu.get_cpu_capability()}, 2 threads"
