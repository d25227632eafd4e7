"""What computes: the bytes of trained weights and of kept outputs depend on it."""

import platform
from pathlib import Path

from stages.core.errors import UserError


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


def resolve_precision(key: str, wanted: str) -> str:
    """`auto` as what this machine does in hardware: bf16, else fp16 on a GPU, else fp32.

    UserError for fp16 without a GPU: a CPU has no loss scaling to make up for its range.
    """
    import torch

    gpu = torch.cuda.is_available()
    if wanted == "fp16" and not gpu:
        raise UserError(f"{key}: found fp16; it needs a GPU, and this machine has none. Use auto, bf16 or fp32.")
    if wanted == "bf16" and gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(f"{key}: found bf16; {torch.cuda.get_device_name()} has none in hardware. Use auto or fp16.")
    if wanted != "auto":
        return wanted
    if gpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"
