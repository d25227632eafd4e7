"""torch's key-value store, by which ranks find each other: where it is, and who keeps it."""

import os
import socket
import time
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from stages.core.errors import UserError

SECONDS_TO_COME = 300  # for all ranks, unless the environment variable of this name says so
SECONDS_OF_AGENT = 10
ATTEMPT = timedelta(seconds=5)
AGAIN = "Start the training again: it goes on from the last checkpoint."


def connect(rank: int, is_server: bool) -> dist.TCPStore:
    """Connect to the store, or keep it; UserError when there is none, or its port is in use."""
    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    # torchrun has opened its store before it starts a rank; without one it was killed.
    deadline = time.monotonic() + (SECONDS_OF_AGENT if has_agent() else read_seconds())
    while True:
        try:
            # In short attempts, because torch lets no signal interrupt one.
            return dist.TCPStore(host, int(port), None, is_server, ATTEMPT, wait_for_workers=False)
        except (ValueError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not is_server and time.monotonic() < deadline:
                continue
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"rank {rank} on {socket.gethostname()}: no connection at MASTER_ADDR {host or 'unset'}, "
                f"MASTER_PORT {port or 'unset'} ({reason}). Is the port in use, or did rank 0 not start?"
            ) from None


def describe_lost_store() -> str:
    """Who has ended, when what keeps the store has."""
    return f"{'the launcher' if has_agent() else 'rank 0'} has ended, and with it the training. {AGAIN}"


def has_agent() -> bool:
    """Whether torchrun keeps the store."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def read_seconds() -> float:
    """How long to wait for other ranks; UserError when the environment variable is not a number."""
    found: Any = os.environ.get("SECONDS_TO_COME") or SECONDS_TO_COME
    try:
        return float(found)
    except ValueError:
        raise UserError(f"the environment variable SECONDS_TO_COME: found {found!r}; allowed: a number.") from None
