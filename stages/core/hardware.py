"""The processor, on which the bytes of trained weights and of cached features depend, and the machine that has it."""

import os
import platform
import socket
from pathlib import Path

from stages.core.errors import UserError


def cpu_name() -> str:
    """The name of the CPU, such as "Intel(R) Xeon(R) Processor @ 2.10GHz"."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def has_exact_int8() -> bool:
    """Whether the CPU adds products of 8-bit integers in 32 bits.

    An x86 CPU without VNNI adds two of them in 16 bits, which is too little for weights of more than 7 bits. Other CPUs
    are taken for exact.
    """
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text().split()) if info.exists() else set()
    return "avx2" not in flags or bool(flags & {"avx512_vnni", "avx_vnni"})


def gpu_name() -> str:
    """The name of the GPU that the process uses, which is one; empty where there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def describe_processor() -> str:
    """The GPU, or else the CPU's instruction set and the number of threads, which decide the order of additions."""
    import torch

    threads = torch.get_num_threads()
    return gpu_name() or f"{torch.backends.cpu.get_cpu_capability()}, {threads} thread{'s' * (threads > 1)}"


def name_machine() -> str:
    """A name for this machine's GPUs and cores among those of other machines that share the checkout.

    In a job of Slurm it is the job's own name, because Slurm has divided the machine among its jobs already: each may
    see its GPU as number 0, and its cores as the only ones.
    """
    job = os.environ.get("SLURM_JOB_ID")
    return f"{socket.gethostname()}-slurm-{job}" if job else socket.gethostname()


def resolve_precision(key: str, wanted: str) -> str:
    """The precision for the value `wanted` of the param `key`.

    `auto` is the first that the hardware supports: bf16, then fp16 on a GPU, then fp32.

    UserError for fp16 without a GPU, since loss scaling, which its small range needs, is not available on a CPU.
    """
    import torch

    gpu = torch.cuda.is_available()
    if wanted == "fp16" and not gpu:
        raise UserError(f"{key}: found fp16; it needs a GPU, and this machine has none. Use auto, bf16 or fp32.")
    if wanted == "bf16" and gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(
            f"{key}: found bf16; {torch.cuda.get_device_name()} does not support it in hardware. Use auto or fp16."
        )
    if wanted != "auto":
        return wanted
    if gpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"
