"""GPUs, of which each process of an experiment takes one."""

import os

import torch
from filelock import FileLock

from stages.core.errors import UserError
from stages.core.files import cache_dir
from stages.core.hardware import name_machine
from stages.core.locks import acquire_some

taken: list[FileLock] = []  # of this process; the operating system releases it when the process ends


def take_gpu() -> None:
    """Wait until one of the visible GPUs is free, and let this process see and use that one alone, until it ends.

    So queued experiments spread over the GPUs of a machine, also where several machines share the checkout. With
    several visible GPUs, Trainer would split each batch over all of them by `nn.DataParallel`, which changes the
    results. Call it before CUDA starts: later the visible GPUs cannot be changed. Without a GPU it does nothing.
    """
    if not taken:
        for gpu in take_gpus(1):
            use_gpu(gpu)


def use_gpu(gpu: str) -> None:
    """Let this process see one GPU."""
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu


def take_gpus(count: int) -> list[str]:
    """Wait until so many of the visible GPUs are free, and keep other processes from taking them, until this one ends.

    Empty when there is no GPU; UserError when there are fewer.
    """
    gpus = list_visible_gpus()
    if not gpus:
        return []
    if len(gpus) < count:
        raise UserError(
            f"{count} processes were started on this host, and {len(gpus)} GPUs are visible; start one each."
        )
    folder = cache_dir() / "gpus" / name_machine()
    folder.mkdir(parents=True, exist_ok=True)
    locks = {gpu: FileLock(folder / f"{gpu.replace('/', '-')}.lock") for gpu in gpus}
    held = acquire_some(list(locks.values()), count, "a GPU: other experiments use all that are visible")
    taken.extend(held)
    return [gpu for gpu, lock in locks.items() if lock in held]


def return_gpu() -> None:
    """Let another process take the GPU of this one, which computes no more, such as an experiment that it starts."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    while taken:
        taken.pop().release()


def list_visible_gpus() -> list[str]:
    """Numbers or identifiers of the GPUs that CUDA would use, as CUDA_VISIBLE_DEVICES names them."""
    number = torch.cuda.device_count()  # asks the driver's library, and does not start CUDA
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(index) for index in range(number)] if named is None else named.split(",")
    return [name.strip() for name in names[:number]]  # CUDA ignores the names after the first that does not exist
