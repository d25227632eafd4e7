"""When CUDA_VISIBLE_DEVICES is read, on a machine with two GPUs: until CUDA starts, also after torch is imported."""

import os

import torch
from support.gpu_programs import print_results

from stages.core.hardware import resolve_precision


def count_before_start() -> list[int]:
    counts = []
    for visible in ("", "0", "1", "0,1", "1,99", "1,1", "-1"):
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
        counts.append(torch.cuda.device_count())
    return counts


def count_after_start() -> list[int]:
    os.environ["CUDA_VISIBLE_DEVICES"] = "1"
    torch.cuda.is_available()
    os.environ["CUDA_VISIBLE_DEVICES"] = "0,1"
    torch.ones(1, device="cuda")
    return [torch.cuda.device_count(), torch.accelerator.device_count(), len(torch.cuda.get_rng_state_all())]


CHECKS = {
    "before": count_before_start,
    "initialized before": torch.cuda.is_initialized,
    "after": count_after_start,
    "initialized after": torch.cuda.is_initialized,
    "number": lambda: str(torch.cuda.get_device_properties(0).uuid),
    "precision": lambda: resolve_precision("train.precision", "auto"),
    "unsupported precision": lambda: resolve_precision("train.precision", "bf16"),
}

if __name__ == "__main__":
    print_results(CHECKS)
