"""What `torch.cuda` calls of torch's compiled part, which a torch without CUDA lacks, for the pretended GPUs."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def pretend(path: Path) -> None:
    """Load the library at `path`, which must come before torch, and complete `torch.cuda`."""
    assert "torch" not in sys.modules
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    for name in ("bytes", "number", "peak", "pinned", "pinned_peak", "state_size", "used"):
        getattr(library, f"get_{name}").restype = ctypes.c_int64
    library.get_seed.restype = ctypes.c_uint64
    import torch

    compiled: Any = torch._C
    device = DeviceFunctions(library)
    for name in dir(device):
        if not name.startswith("_"):
            setattr(compiled, f"_cuda_{name}", getattr(device, name))
    for function in (_broadcast_coalesced, _scatter, _gather):
        setattr(compiled, function.__name__, function)
    cuda: Any = torch.cuda
    cuda._raw_device_count_nvml = lambda: int(os.environ.get("PRETENDED_GPUS", "1"))
    cuda._exchange_device = cuda._maybe_exchange_device = device.exchangeDevice
    cuda._is_in_bad_fork = device.isInBadFork
    cuda._cudart = SimpleNamespace(cudaMemGetInfo=device._get_memory)
    cuda._get_device_properties = device._get_properties
    cuda.Stream = Stream
    cuda.current_stream = cuda.default_stream = lambda device=None: Stream()
    cuda.stream = lambda stream: contextlib.nullcontext()
    torch.backends.cuda.is_built = lambda: True
    torch.version.cuda = "12.8"


class DeviceFunctions:
    """Functions of `torch._C`, there with `_cuda_` before their names. `torch.cuda` checks most arguments."""

    def __init__(self, library: ctypes.CDLL):
        self._library, self._process = library, 0  # the process that started CUDA

    def isInBadFork(self) -> bool:
        return self._process not in (0, os.getpid())

    def getDeviceCount(self) -> int:
        self._process = self._process or os.getpid()
        return self._library.count()

    def init(self) -> None:
        import torch

        count = self.getDeviceCount()
        if not count:
            raise RuntimeError("No CUDA GPUs are available")
        torch.cuda.default_generators = tuple(Generator(self._library, index) for index in range(count))

    def getArchFlags(self) -> str:
        return "sm_70 sm_80 sm_90"

    def getDevice(self) -> int:
        return self._library.get_current()

    def setDevice(self, index: int) -> None:
        if index >= self.getDeviceCount():
            raise RuntimeError("CUDA error: invalid device ordinal")
        self._library.set_current(index)

    def exchangeDevice(self, index: int) -> int:
        before = self.getDevice()
        if index >= 0:
            self.setDevice(index)
        return before

    def memoryStats(self, index: int) -> dict[str, Any]:
        used, peak = self._library.get_used(index), self._library.get_peak(index)
        return {"allocated_bytes": {"all": {"current": used, "peak": peak}}}

    def hostMemoryStats(self) -> dict[str, Any]:
        used, peak = self._library.get_pinned(), self._library.get_pinned_peak()
        return {"allocated_bytes": {"current": used, "peak": peak}}

    def resetPeakMemoryStats(self, index: int) -> None:
        self._library.reset_peak(index)

    def setMemoryFraction(self, fraction: float, index: int) -> None:
        limit = int(fraction * self._library.get_bytes(index))
        self._library.set_limit(index, ctypes.c_int64(limit))

    def emptyCache(self) -> None:
        """Nothing is cached."""

    def synchronize(self) -> None:
        """All work is done."""

    def getCurrentRawStream(self, index: int) -> int:
        return 0

    def ipc_collect(self) -> None:
        """Nothing is shared with other processes."""

    def _get_memory(self, index: int) -> tuple[int, int]:
        """Free and all bytes."""
        size = self._library.get_bytes(index)
        return size - self._library.get_used(index), size

    def _get_properties(self, index: int) -> SimpleNamespace:
        major, minor = map(int, os.environ.get("PRETENDED_GPU_CAPABILITY", "8.0").split("."))
        return SimpleNamespace(
            name="Pretended GPU", major=major, minor=minor, total_memory=self._library.get_bytes(index),
            multi_processor_count=1, uuid=f"GPU-{self._library.get_number(index)}", gcnArchName="",
        )  # fmt: skip


class Generator:
    """The random state of a GPU."""

    def __init__(self, library: ctypes.CDLL, index: int):
        self.library, self.index = library, index

    def manual_seed(self, seed: int) -> "Generator":
        self.library.set_seed(self.index, ctypes.c_uint64(seed))
        return self

    def initial_seed(self) -> int:
        return self.library.get_seed(self.index)

    def get_state(self) -> Any:
        import torch

        state = torch.empty(self.library.get_state_size(), dtype=torch.uint8)
        self.library.copy_state(self.index, ctypes.c_void_p(state.data_ptr()))
        return state

    def set_state(self, state: Any) -> None:
        if state.device.type != "cpu":
            raise TypeError("RNG state must be a torch.ByteTensor")
        self.library.set_state(self.index, ctypes.c_void_p(state.contiguous().data_ptr()))


class Stream:
    """A stream in which all work is done."""

    def __init__(self, *_: Any, **__: Any):
        import torch

        self.device, self.cuda_stream = torch.device("cuda", torch.cuda.current_device()), 0

    def synchronize(self) -> None: ...
    def wait_stream(self, stream: Any) -> None: ...
    def wait_event(self, event: Any) -> None: ...
    def record_event(self, event: Any = None) -> None: ...


# What nn.DataParallel needs, so that a test can show that it is not used.
def _broadcast_coalesced(tensors: Sequence[Any], devices: Sequence[int], buffer_size: int) -> list[list[Any]]:
    return [[tensor.to(f"cuda:{index}") for tensor in tensors] for index in devices]


def _scatter(tensor: Any, devices: Sequence[int], sizes: Any, dim: int, streams: Any) -> tuple[Any, ...]:
    parts = tensor.chunk(len(devices), dim)
    return tuple(part.to(f"cuda:{index}") for part, index in zip(parts, devices, strict=False))


def _gather(tensors: Sequence[Any], dim: int, destination: int) -> Any:
    import torch

    return torch.cat([tensor.to(f"cuda:{destination}") for tensor in tensors], dim)
