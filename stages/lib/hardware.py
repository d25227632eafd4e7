"""What computes: the bytes of trained weights depend on it."""

import platform
from pathlib import Path


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def gpu_name() -> str:
    """The GPU's name; none where it is not used, since it is hidden then."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""
