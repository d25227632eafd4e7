"""The processes that train one model together, the ranks, as torchrun or another launcher starts them; by default one.

`join` is entered first. Then each rank runs the same code: what is done once is for rank 0 (`first_only`), what can be
divided is taken in shares (`share`), and what the ranks must agree on is what rank 0 says (`broadcast`), or what all
say (`gather`). A rank must not skip one of these calls, since the others would wait for it; where only some may fail,
`failing_together` makes all fail. With one process these functions return at once and torch.distributed is not used.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch
import torch.distributed as dist
from filelock import FileLock

from stages.core.cpu_slots import count_cores, keep_cores
from stages.core.errors import UserError
from stages.core.files import cache_dir
from stages.core.gpu_slots import take_gpu, take_gpus, use_gpu
from stages.core.locks import hold_lock
from stages.core.rank_meeting import Meeting, meet

Value = TypeVar("Value")
LONGEST_WAIT = timedelta(days=7)  # in a collective, for a rank that computes; the meeting notices one that has ended
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
joined: list[Meeting] = []  # the one of this process, in `join`


@contextmanager
def join() -> Iterator[None]:
    """Meet the other ranks, and leave them when the block ends; an error of one rank ends all of them.

    The rank that fails first reports the error; the others end without a message. UserError when a rank does not come,
    or does not see the files of the others.
    """
    if read_number("WORLD_SIZE") == 1:
        for name in VARIABLES:
            os.environ.pop(name, None)  # else Accelerate looks for other processes
        yield
        return
    with meet(read_number("RANK"), read_number("WORLD_SIZE")) as meeting:
        joined.append(meeting)
        if meeting.rank > 0:
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - rank 0 says what is done
        try:
            check_shared_folder(meeting)
            yield
        finally:
            joined.remove(meeting)
            if dist.is_initialized() and not torch.cuda.is_available():  # with NCCL, a failed rank could block here
                dist.destroy_process_group()


def read_number(name: str) -> int:
    """A number that the launcher gives; UserError when it is none."""
    found = os.environ.get(name) or ("0" if name.endswith("RANK") else "1")
    if not found.isdecimal():
        raise UserError(f"the environment variable {name}: found {found!r}; launchers such as torchrun set a number.")
    return int(found)


def get_rank() -> int:
    return joined[0].rank if joined else 0


def count_ranks() -> int:
    return joined[0].world if joined else 1


def count_ranks_of_host() -> int:
    """How many ranks share this host's cores and memory."""
    return read_number("LOCAL_WORLD_SIZE") if joined else 1


def check_shared_folder(meeting: Meeting) -> None:
    """UserError unless all ranks see the same cache folder: features, checkpoints and models are shared by files."""
    name = cache_dir() / f"ranks-{meeting.exchange('token', lambda: os.urandom(8).hex())}"
    if meeting.rank == 0:
        name.parent.mkdir(parents=True, exist_ok=True)
        name.touch()
    meeting.wait("token written")
    is_there = name.exists()
    meeting.wait("token read")
    if meeting.rank == 0:
        name.unlink()
    if not is_there:
        raise UserError(
            f"{name.parent}: is not that of rank 0; all hosts must see the same checkout, in a shared file system."
        )


def take_processors() -> None:
    """Take a GPU or, without GPUs, the cores of this host for all its ranks, and connect the ranks.

    It waits until they are free. Two trainings on the same hosts take their processors one after the other: else each
    could hold what the other waits for.
    """
    if not joined:
        take_gpu()
        return
    meeting, local_rank, count = joined[0], read_number("LOCAL_RANK"), count_ranks_of_host()
    with ExitStack() as turn:
        if meeting.rank == 0:
            lock = FileLock(cache_dir() / "ranks.lock")
            turn.enter_context(
                hold_lock(lock, "another training of several processes, which waits for its GPUs or cores")
            )
        meeting.wait("turn")
        first_of_host = meeting.rank - local_rank
        gpus = meeting.exchange("gpus", lambda: ",".join(take_gpus(count)), first_of_host)
        if gpus:
            use_gpu(gpus.split(",")[local_rank])
            os.environ["LOCAL_RANK"] = "0"  # the number of the only GPU that this process sees, for Accelerate
        else:
            os.environ.setdefault("OMP_NUM_THREADS", str(max(count_cores() // count, 1)))  # else Accelerate does
            torch.set_num_threads(read_number("OMP_NUM_THREADS"))
            keep_cores(count if local_rank == 0 else 0)
        meeting.wait("taken")
    if interface := find_interface():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpus else "gloo", store=meeting.make_store("group"), rank=meeting.rank,
        world_size=meeting.world, timeout=LONGEST_WAIT,
    )  # fmt: skip


def find_interface() -> str | None:
    """The name of the network interface by which other ranks reach this host; None where IPv4 does not tell.

    By default gloo takes the one of the host's name, which many systems map to 127.0.1.1.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((os.environ["MASTER_ADDR"], 9))  # sends nothing, and chooses the route
            address = probe.getsockname()[0]
    except OSError:
        return None
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, found in interfaces if any(one.address == address for one in found)), None)


def broadcast(value: Value) -> Value:
    """What rank 0 says."""
    if not joined:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def gather(value: Value) -> list[Value]:
    """What each rank says, in their order."""
    if not joined:
        return [value]
    box: list[Any] = [None] * count_ranks()
    dist.all_gather_object(box, value)
    return box


def find_highest(value: int) -> int:
    """The highest of the values of all ranks; faster than `gather`."""
    if not joined:
        return value
    box = torch.tensor([value])
    dist.all_reduce(box, dist.ReduceOp.MAX)
    return int(box)


def share(items: Any) -> Any:
    """This rank's share of a sequence: every N-th item, so that items sorted by size are shared evenly."""
    return items[get_rank() :: count_ranks()]


@contextmanager
def first_only(open_context: Callable[[], AbstractContextManager[Value]]) -> Iterator[None]:
    """Hold a context in rank 0, such as a lock, while all ranks run the block; an OSError of rank 0 is one of all."""
    with ExitStack() as held:
        with failing_together():
            if get_rank() == 0:
                held.enter_context(open_context())
        yield
        gather(None)


@contextmanager
def failing_together() -> Iterator[None]:
    """Raise an OSError of one rank in all of them, at the end of the block, which has no other call to all ranks."""
    error = None
    try:
        yield
    except OSError as caught:
        if not joined:
            raise
        error = caught
    found = next((one for one in gather(error) if one is not None), None)
    if found is not None:
        raise found


def require_equal(values: dict[str, Any]) -> None:
    """UserError unless all ranks have the same values, by what they are of."""
    mine = {name: flatten(value) for name, value in values.items()}
    host = socket.gethostname()
    for name in mine:
        first, *others = gather((host, mine[name]))
        for rank, (other_host, other) in enumerate(others, 1):
            differs = sorted(key for key in first[1].keys() | other.keys() if first[1].get(key) != other.get(key))
            if differs:
                key = differs[0]
                raise UserError(
                    f"rank {rank} on {other_host} sees other {name} than rank 0 on {first[0]}"
                    f"{f' ({key}: {other.get(key)}, not {first[1].get(key)})' if key else ''}; all need the same "
                    "checkout, in a shared file system, and the same packages."
                )


def flatten(value: Any, key: str = "") -> dict[str, Any]:
    """The values of nested dicts by dotted key."""
    if not isinstance(value, dict):
        return {key: value}
    return {
        name: one for part, inner in value.items() for name, one in flatten(inner, f"{key}.{part}".strip(".")).items()
    }
