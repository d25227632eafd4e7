"""Where ranks meet: they learn who is there, and that one has failed or ended, so that none waits for it forever.

All is told through torch's key-value store. torchrun keeps it in a process of its own; without torchrun rank 0 does.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import torch.distributed as dist

from stages.core.errors import Terminated, UserError, describe_system_error
from stages.core.parent import is_running
from stages.core.rank_store import AGAIN, connect, describe_lost_store, has_agent, read_seconds

SECONDS_BETWEEN_BEATS = 0.5
SECONDS_WITHOUT_BEAT = 15.0  # until a rank on another host counts as ended
SECONDS_TO_END = 5.0  # that a rank has to end by itself after another has failed
POLL_SECONDS = 0.02
LEFT = b"left"


class Peer(NamedTuple):
    """Another rank."""

    rank: int
    host: str
    processes: str  # the same for ranks that see each other's processes
    pid: int

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host} (process {self.pid})"


class Problem(NamedTuple):
    """Why the ranks cannot go on."""

    message: str
    is_reported: bool  # by the rank that failed


@contextmanager
def meet(rank: int, world: int) -> Iterator["Meeting"]:
    """Wait for all ranks, and watch them until the block ends; UserError when one does not come."""
    meeting = Meeting(rank, world)
    meeting.come()
    watch = threading.Thread(target=meeting.watch, daemon=True)
    watch.start()
    try:
        yield meeting
    except BaseException as error:
        meeting.leave_after(error)
        raise
    meeting.leave()


class Meeting:
    """The ranks of one training, seen by one of them."""

    def __init__(self, rank: int, world: int):
        self.rank, self.world, self.processes = rank, world, describe_process_table()
        self.kept: list[dist.Store] = []
        self.store = self.make_store("meeting", is_first=True)
        self.peers: list[Peer] = []
        self.beats: dict[int, tuple[bytes, float]] = {}  # of each peer the last one, and when it was seen first
        self.problem: Problem | None = None
        self.has_left = threading.Event()

    def make_store(self, prefix: str, is_first: bool = False) -> dist.Store:
        """A connection of its own, because each is blocked while a thread waits in it; UserError without one."""
        store = connect(self.rank, is_server=is_first and self.rank == 0 and not has_agent())
        self.kept.append(store)  # the server ends when it is deleted
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return dist.PrefixStore(f"stages/{attempt}/{prefix}", store)

    def come(self) -> None:
        """Say that this rank is there, and wait for the others."""
        self.store.set(f"beat/{self.rank}", "0")
        self.store.set(f"rank/{self.rank}", f"{socket.gethostname()}\n{self.processes}\n{os.getpid()}")
        deadline = time.monotonic() + read_seconds()
        try:
            while missing := [rank for rank in range(self.world) if not self.store.check([f"rank/{rank}"])]:
                if time.monotonic() > deadline:
                    raise UserError(self.describe_missing(missing))
                time.sleep(POLL_SECONDS)
        except RuntimeError:
            raise UserError(describe_lost_store()) from None
        self.peers = [self.read_peer(rank) for rank in range(self.world) if rank != self.rank]

    def describe_missing(self, missing: list[int]) -> str:
        here = [rank for rank in range(self.world) if rank not in missing]
        hosts = sorted({self.read_peer(rank).host for rank in here})
        return (
            f"after {read_seconds():g} seconds, ranks {', '.join(map(str, missing))} of {self.world} have not come; "
            f"those of {', '.join(hosts)} are here. Start the training on all hosts, with the same MASTER_ADDR."
        )

    def read_peer(self, rank: int) -> Peer:
        host, processes, pid = self.store.get(f"rank/{rank}").decode().split("\n")
        return Peer(rank, host, processes, int(pid))

    def exchange(self, name: str, make: Callable[[], str], source: int = 0) -> str:
        """The text that the rank `source` makes, for all that ask with the same name and source."""
        key = f"exchange/{name}/{source}"
        if self.rank == source:
            self.store.set(key, make())
        self.wait_for([key])
        return self.store.get(key).decode()

    def wait(self, name: str) -> None:
        """Wait until all ranks are at this point."""
        self.store.set(f"wait/{name}/{self.rank}", "")
        self.wait_for([f"wait/{name}/{rank}" for rank in range(self.world)])

    def wait_for(self, keys: list[str]) -> None:
        """Wait for keys as long as it takes; UserError when a rank has failed that may have had to set one."""
        while not self.store.check(keys):
            if self.problem:
                raise UserError(self.problem.message)
            time.sleep(POLL_SECONDS)

    def watch(self) -> None:
        """Tell the others that this rank lives, and notice what happens to them; end the process if it is stuck.

        Rank 0, or when that has ended rank 1, says which rank ended without a message.
        """
        store, number, since = self.make_store("meeting"), 0, None
        while not self.has_left.wait(SECONDS_BETWEEN_BEATS):
            number += 1
            try:
                store.set(f"beat/{self.rank}", str(number))
                self.problem = self.problem or self.find_problem(store)
            except RuntimeError:  # what keeps the store has ended; the lowest rank that is left says so
                first = 0 if has_agent() else 1
                self.problem = self.problem or Problem(describe_lost_store(), self.rank != first)
            if self.problem:
                since = since or time.monotonic()
                if time.monotonic() - since > SECONDS_TO_END:
                    if not self.problem.is_reported:
                        print(f"\nerror in stage train: {self.problem.message}", file=sys.stderr, flush=True)
                    os._exit(1)

    def find_problem(self, store: dist.Store) -> Problem | None:
        """A failure that a rank has reported, or a rank that has ended without leaving."""
        if store.check(["failed"]) and store.get("failed").decode() != str(self.rank):
            return Problem(store.get("failed").decode(), True)
        for peer, beat in zip(self.peers, store.multi_get([f"beat/{peer.rank}" for peer in self.peers]), strict=True):
            if self.beats.get(peer.rank, (b"", 0.0))[0] != beat:
                self.beats[peer.rank] = beat, time.monotonic()
            if beat != LEFT and self.has_ended(peer):
                is_first = self.rank == min({0, 1} - {peer.rank})
                return Problem(describe_ended(peer), not is_first)
        return None

    def has_ended(self, peer: Peer) -> bool:
        """Whether a rank's process is gone, or has not been heard of for long."""
        if peer.processes == self.processes:
            return not is_running(peer.pid)
        return time.monotonic() - self.beats[peer.rank][1] > SECONDS_WITHOUT_BEAT

    def leave(self) -> None:
        """Say that this rank is done; rank 0, which may keep the store, waits until the others are."""
        self.has_left.set()
        self.say_left()

    def leave_after(self, error: BaseException) -> None:
        """Report an error of this rank to the others; SystemExit when another one was before, which reports its own.

        A connection that broke, and a launcher that ends this rank, come of a rank that ended; UserError names it.
        """
        if is_broken_connection(error) or isinstance(error, KeyboardInterrupt):
            with suppress(Terminated):  # of a launcher, which has noticed the other rank's end before this one did
                is_asked = isinstance(error, KeyboardInterrupt)
                self.wait_for_problem(0 if is_asked else SECONDS_WITHOUT_BEAT + SECONDS_TO_END)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # this rank ends, and has to say why
            self.wait_for_problem(0)
        is_first = False
        with suppress(RuntimeError):
            is_first = self.store.compare_set("failed", "", str(self.rank)) == str(self.rank).encode()
        self.leave()
        if self.problem and not self.problem.is_reported:
            raise UserError(self.problem.message) from None
        if self.problem or not is_first:
            codes: dict[type[BaseException], int] = {Terminated: 143, KeyboardInterrupt: 130}
            raise SystemExit(codes.get(type(error), 1)) from None
        reason = str(error) if isinstance(error, UserError) else describe_system_error(error)
        if self.rank > 0 and reason:
            raise UserError(f"rank {self.rank} on {socket.gethostname()}: {reason}") from None

    def wait_for_problem(self, seconds: float) -> None:
        """Wait until it is known which rank has failed or ended; look at least once."""
        deadline = time.monotonic() + seconds
        while not self.problem:
            with suppress(RuntimeError):
                self.problem = self.find_problem(self.store)
            if time.monotonic() >= deadline:
                return
            time.sleep(POLL_SECONDS)

    def say_left(self) -> None:
        """Mark this rank as left, and give the others some time to notice before the launcher ends them."""
        deadline = time.monotonic() + SECONDS_TO_END
        with suppress(RuntimeError):
            self.store.set(f"beat/{self.rank}", LEFT.decode())
            keys = [f"beat/{peer.rank}" for peer in self.peers]
            while time.monotonic() < deadline and any(beat != LEFT for beat in self.store.multi_get(keys)):
                if any(self.has_gone(peer) for peer in self.peers):
                    return
                time.sleep(POLL_SECONDS)

    def has_gone(self, peer: Peer) -> bool:
        return peer.rank in self.beats and self.beats[peer.rank][0] != LEFT and self.has_ended(peer)


def describe_ended(peer: Peer) -> str:
    return f"{peer} ended without a message, as one does that the system kills because memory is short. {AGAIN}"


def describe_process_table() -> str:
    """The same for processes that see each other, and so can see that one has ended."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def is_broken_connection(error: BaseException) -> bool:
    """Whether an error of torch says that another rank could not be reached."""
    words = ("gloo", "connection closed by peer", "connection reset by peer", "nccl", "broken pipe", "socket timeout")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )
