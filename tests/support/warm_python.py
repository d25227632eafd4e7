"""A `python` that has imported the large libraries already, for the many commands that tests run in checkouts.

A server imports them once and forks a process for each command. That is a process of its own with its own arguments,
folder, environment, files and exit code, as any `python -m stages.train`, which it replaces; it only starts 5 seconds
earlier. `python` itself becomes a small client, which waits for the process; `dvc` is another one, for DVC.

The limit of a file's size, with which tests pretend a full disk, is that of the client. What it cannot do: libraries
read some variables when they are imported (HF_ENDPOINT, OMP_NUM_THREADS), and a signal for the client does not reach
the process. Tests of these use the real Python, as do stages that ask a hub.

Run as a program, this file is the server: `python -I warm_python.py SOCKET CLIENT`.
"""

import atexit
import gc
import importlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

# Besides those of `stages.warm`.
LIBRARIES = ("dvc.cli.parser", "dvc.repo.experiments.queue.workspace", "dvc.repo.plots", "dvc.stage.run", "scmrepo.git")
PYTHON = sys.executable  # the real one
SHARED = "WARM_PYTHON"  # the variable with the client's path
CLIENT = """\
#!{python} -IS
import json, os, resource, socket, sys
command = ["-m", "dvc", *sys.argv[1:]] if os.path.basename(sys.argv[0]) == "dvc" else sys.argv[1:]
asks_hub = "HF_ENDPOINT" in os.environ and command[1:2] in (["stages.download"], ["stages.base_model"])
if command[:1] != ["-m"] or not f"{{command[1]}}.".startswith(("stages.", "dvc.")) or asks_hub:
    os.execv({python!r}, [{python!r}, *command])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    request = json.dumps([command[1:], os.getcwd(), dict(os.environ), limit]).encode()
    socket.send_fds(server, [len(request).to_bytes(4)], [0, 1, 2])
    server.sendall(request)
    code = server.recv(1)
sys.exit(code[0] if code else 1)
"""


@cache
def find_python() -> Path:
    """The client of a server; its name is `python`. The first call starts the server, which ends with this process.

    Processes that this one starts later use the same server.
    """
    if SHARED in os.environ:
        return Path(os.environ[SHARED])
    folder = Path(tempfile.mkdtemp(prefix="warm-python-"))
    atexit.register(shutil.rmtree, folder)
    address, client = folder / "socket", folder / "python"
    client.write_text(CLIENT.format(python=PYTHON, address=str(address)))
    client.chmod(0o755)
    (folder / "dvc").symlink_to(client)
    server = subprocess.Popen(
        [PYTHON, "-I", __file__, str(address), str(client)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdout
    server.stdout.readline()  # it is listening
    os.environ[SHARED] = str(client)
    return client


def serve(address: str) -> list[str]:
    """Fork a process for each client, until stdin is closed. Returns in those processes only: their arguments."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that none has to be waited for
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    print("listening", flush=True)
    if not os.fork():  # ends the server with the process that started it
        sys.stdin.read()
        os.kill(os.getppid(), signal.SIGTERM)
        os._exit(0)
    while True:
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        arguments = take_over(connection)
        process = os.fork()
        if not process:
            connection.close()
            return arguments
        _, status = os.waitpid(process, 0)
        connection.send(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
        os._exit(0)


def take_over(connection: socket.socket) -> list[str]:
    """Take the client's files, folder, environment and limit; return its arguments."""
    size, files, _, _ = socket.recv_fds(connection, 4, 3)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    with connection.makefile("rb") as stream:
        arguments, folder, environment, limit = json.loads(stream.read(int.from_bytes(size)))
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    sys.dont_write_bytecode = limit[0] != resource.RLIM_INFINITY  # Python would not notice that it wrote half a file
    os.environ.clear()
    os.environ.update(environment)
    return arguments


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from stages import warm

    for library in (*warm.LIBRARIES, *LIBRARIES):
        importlib.import_module(library)
    gc.freeze()  # the objects of all libraries are then not searched for garbage, which would copy their pages
    _, address, client = sys.argv
    module, *sys.argv[1:] = serve(address)
    sys.executable = client  # for the processes that this one starts
    sys.path[:1] = [str(Path.cwd()), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    warm.forget_project()
    warm.end(warm.run(module))
