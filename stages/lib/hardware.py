"""What computes: the bytes of trained weights and of kept outputs depend on it."""

import platform
from pathlib import Path


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def gpu_names() -> str:
    """The names of all GPUs; none where they are not used, since they are hidden then."""
    import torch

    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ", ".join(map(torch.cuda.get_device_name, range(number)))


def what_computes() -> str:
    """The GPUs or else the CPU's instructions and the threads, which decide in what order numbers are added."""
    import torch

    threads = torch.get_num_threads()
    return gpu_names() or f"{torch.backends.cpu.get_cpu_capability()}, {threads} thread{'s' * (threads > 1)}"
