"""Hand a command over to the process of `python -m stages.warm`, which has imported the libraries already.

This module is imported before any other, by each command, so it needs nothing but the standard library. A command runs
where it was started, unless such a process is there, and would start it in the same way.
"""

import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

ADDRESS = "STAGES_WARM"  # the variable with the path of the socket, in place of the usual one; empty: no hand-over
CLIENT = "STAGES_CLIENT"  # the variable with the process that handed over
# Variables that libraries read when they are imported begin with these.
READ_AT_IMPORT = (
    *("CUBLAS", "CUDA", "DATASETS", "DNNL", "GOMP", "HF_", "HUGGINGFACE", "KMP_", "LANG", "LC_", "LD_", "MALLOC_"),
    *("MKL_", "NCCL", "NUMEXPR", "NVIDIA", "OMP_", "ONEDNN", "OPENBLAS", "PYTHON", "PYTORCH", "RAYON", "TOKENIZERS"),
    *("HOME", "MPL", "TEMP", "TMP", "TORCH", "TRANSFORMERS", "TZ", "XDG_CACHE"),
)
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def find_address() -> Path | None:
    """The socket of this environment's process; None where it is switched off."""
    found = os.environ.get(ADDRESS)
    return Path(sys.prefix) / "stages-warm.sock" if found is None else Path(found) if found else None


def describe_process() -> dict[str, Any]:
    """What a process inherits and cannot be given later, or what decides how libraries are imported."""
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT")}
    umask = os.umask(0)
    os.umask(umask)
    facts = {
        "affinity": sorted(os.sched_getaffinity(0)),
        "flags": list(sys.flags),
        "limits": limits,
        "nice": os.nice(0),
        "packages": [Path(folder).stat().st_mtime_ns for folder in sys.path if folder.endswith("-packages")],
        "python": sys.executable,
        "umask": umask,
        "user": os.getuid(),
        "variables": {name: value for name, value in os.environ.items() if name.startswith(READ_AT_IMPORT)},
    }
    return json.loads(json.dumps(facts))


def hand_over() -> None:
    """Run this `python -m stages.<name>` in a fork of the warm process, and end as it ends; return if there is none."""
    address = find_address()
    command = sys.orig_argv[sys.orig_argv.index("-m") + 1 :]
    is_here = sys.platform == "linux" and address is not None and address.exists()
    if not is_here or not command[0].startswith("stages.") or command[0] == "stages.warm":
        return
    with socket.socket(socket.AF_UNIX) as server:
        request = [command, str(Path.cwd()), dict(os.environ), describe_process(), os.getpid()]
        content = json.dumps(request).encode()
        try:
            server.connect(str(address))
            socket.send_fds(server, [len(content).to_bytes(8)], [0, 1, 2])
            server.sendall(content)
        except OSError:  # it was killed, and its socket is left; or this process has no stdin
            return
        process = int.from_bytes(receive(server, 8))
        if not process:  # it would start it in another way
            return
        for number in FORWARDED:
            signal.signal(number, lambda received, frame: os.kill(process, received))
        code = receive(server, 1)
        os._exit(code[0] if code else 1)


def receive(connection: socket.socket, size: int) -> bytes:
    """So many bytes; fewer when the other side has ended."""
    content = b""
    while len(content) < size and (part := connection.recv(size - len(content))):
        content += part
    return content
