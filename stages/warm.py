"""Keep the libraries in memory, so that the commands of this project start at once.

python -m stages.warm        # in a terminal of its own; Ctrl-C ends it

To import torch and transformers takes four seconds, for each stage. While this runs, `python -m stages.<name>`, also as
DVC starts it, is a fork of this process, and has them already. It reads the project's own code, params and data anew,
and its results have the same bytes. A command that would start in another way, for instance with another
OMP_NUM_THREADS or after a package was installed, runs by itself. Linux only; it takes about 600 MiB of memory.
"""

import argparse
import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from stages.core.errors import UserError
from stages.core.stage import report_errors
from stages.core.warm import ADDRESS, CLIENT, describe_process, find_address, receive

STORES = ("mlflow.store.model_registry.sqlalchemy_store", "mlflow.store.tracking.sqlalchemy_store")
# No module of this project: its code may change while this runs.
LIBRARIES = (
    *STORES,
    *("accelerate", "datasets", "evaluate", "jinja2", "matplotlib.figure", "mlflow.pyfunc", "pandas", "pydantic"),
    *("optuna", "ruamel.yaml", "safetensors.torch", "scipy.stats", "sklearn.metrics", "torch", "transformers.trainer"),
    *("transformers.models.bert.modeling_bert", "transformers.models.auto.tokenization_auto"),
)
WITHOUT_TORCH = ("stages.sync",)  # its variables may differ, such as the number of threads
LONGEST_PATH = 100  # characters of a socket's path that the operating system allows, about


def main() -> None:
    parse_arguments()
    address = choose_address()
    require_unused(address)  # before the imports, which take seconds
    facts = describe_process()
    import_libraries()
    owner = os.getpid()
    listener = listen(address)
    print(f"{address}: commands start at once while this runs; Ctrl-C ends it")
    try:
        module = serve(listener, facts)
    finally:
        if os.getpid() == owner:
            address.unlink(missing_ok=True)
    end(run(module))


def choose_address() -> Path:
    """Where the socket will be; UserError when there cannot be one."""
    address = find_address()
    if sys.platform != "linux" or address is None:
        raise UserError(f"it needs Linux, and {ADDRESS} must not be empty.")
    if len(str(address)) > LONGEST_PATH:
        raise UserError(f"{address}: the path is too long for a socket; give another one in {ADDRESS}.")
    return address


def import_libraries() -> None:
    """Import them, and keep their objects out of searches for garbage, which would copy the pages that forks share."""
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()


def require_unused(address: Path) -> None:
    """UserError when another process listens at this path."""
    probe = socket.socket(socket.AF_UNIX)
    with probe, suppress(OSError):
        probe.connect(str(address))
        raise UserError(f"{address}: is used by another `python -m stages.warm`, which does the same.")


def listen(address: Path) -> socket.socket:
    """A socket at this path that only this user can use; UserError when another process listens there."""
    require_unused(address)
    address.unlink(missing_ok=True)  # left by one that was killed
    listener = socket.socket(socket.AF_UNIX)
    umask = os.umask(0o177)
    try:
        listener.bind(str(address))
    finally:
        os.umask(umask)
    listener.listen(64)
    return listener


def serve(listener: socket.socket, facts: dict[str, Any]) -> str:
    """Fork for each command. Returns in the forks only: the name of the module to run, with `sys.argv` set."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that none has to be waited for
    while True:
        connection, _ = listener.accept()
        if fork():
            connection.close()
            continue
        listener.close()
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()  # Ctrl-C for this process is none for the commands
        return accept(connection, facts)


def fork() -> int:
    """`os.fork`, which a signal does not interrupt: Python ignores errors in what libraries do before and after it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        return os.fork()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def accept(connection: socket.socket, facts: dict[str, Any]) -> str:
    """Start the command of a client in a process of its own, in which alone this returns; refuse what differs."""
    size, files, _, _ = socket.recv_fds(connection, 8, 3)
    if not size:  # a client that only looked whether this process is there, or that was killed
        os._exit(0)
    command, folder, environment, wanted, client = json.loads(receive(connection, int.from_bytes(size)))
    if command[0] in WITHOUT_TORCH:
        wanted["variables"] = facts["variables"]
    if wanted != facts:
        print(f"{command[0]} runs by itself: {describe_difference(wanted, facts)} differ")
        connection.sendall(bytes(8))
        os._exit(0)
    process = os.fork()
    if process:
        for file in files:
            os.close(file)
        connection.sendall(process.to_bytes(8))
        code = wait(connection, process)
        with suppress(OSError):  # the client is gone
            connection.sendall(bytes([code]))
        os._exit(0)
    connection.close()
    take_over(files, folder, environment | {CLIENT: str(client)})
    module, *sys.argv[1:] = command
    return module


def describe_difference(wanted: dict[str, Any], facts: dict[str, Any]) -> str:
    """What is not the same in a command and in this process; of variables their names."""
    names = [name for name in facts if name != "variables" and wanted.get(name) != facts[name]]
    one, other = wanted["variables"], facts["variables"]
    return ", ".join(names + sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)))


def wait(connection: socket.socket, process: int) -> int:
    """The exit code of a process, which is killed if its client is gone."""
    ended = os.pidfd_open(process)
    with selectors.DefaultSelector() as selector:
        for source in (connection, ended):
            selector.register(source, selectors.EVENT_READ)
        while ended not in (found := [key.fileobj for key, _ in selector.select()]):
            if connection in found:
                os.kill(process, signal.SIGKILL)
                selector.unregister(connection)
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code  # as a shell says that a signal ended it


def take_over(files: list[int], folder: str, environment: dict[str, str]) -> None:
    """Make the client's files, folder and environment those of this process, as if it had just started."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1 if os.isatty(1) else -1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.path[0] = folder
    forget_project()
    sys.modules["numpy"].random.seed()


def forget_project() -> None:
    """Let the project's own modules, which may have changed since, be imported anew."""
    for name in [name for name in sys.modules if name == "stages" or name.startswith("stages.")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def run(module: str) -> int:
    """Run a module as `python -m` does, and return its exit code."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(code: int) -> NoReturn:
    """End as Python does, but leave the memory of the libraries as it is: to take it apart would copy all of it.

    MLflow's databases are closed, because SQLite then deletes its write-ahead log.
    """
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads
    atexit._run_exitfuncs()
    for store in STORES:
        for engine in sys.modules[store].SqlAlchemyStore._engine_map.values():
            engine.dispose()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


def parse_arguments() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog="python -m stages.warm", description=__doc__, formatter_class=raw).parse_args()


if __name__ == "__main__":
    with report_errors("warm"):
        main()
