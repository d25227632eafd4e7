import signal
import socket
import subprocess
import threading

import pytest
from support.launcher import find_free_port

from stages.core.errors import Terminated, UserError
from stages.core.rank_meeting import Meeting, Peer


@pytest.fixture
def handler():
    """Restores what SIGTERM does."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_launcher_that_ends_this_rank_meanwhile_does_not_take_the_message_away(handler, monkeypatch):
    """torchrun's SIGTERM came while this rank, whose connection broke, waited to know which rank had ended."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(find_free_port()))
    other = subprocess.Popen(["sleep", "60"])
    meeting = Meeting(0, 2)
    meeting.peers = [Peer(1, socket.gethostname(), meeting.processes, other.pid)]
    meeting.store.set("beat/1", "1")

    def terminate(*_):
        other.kill()
        other.wait()
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    threading.Timer(0.2, signal.pthread_kill, (threading.get_ident(), signal.SIGTERM)).start()
    with pytest.raises(UserError, match=rf"rank 1 on .* \(process {other.pid}\) ended without a message"):
        meeting.leave_after(RuntimeError("Connection closed by peer"))
