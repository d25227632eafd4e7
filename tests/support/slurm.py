"""A Slurm of one machine for the time of a test: its controller, its node and munge, which tells who submits a job."""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.postgresql import find_free_port

PATH = f"{os.environ['PATH']}:/usr/sbin"  # where Debian has the servers
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


@contextmanager
def run_slurm() -> Iterator[str]:
    """The path of the configuration (SLURM_CONF); the test is skipped where Slurm or munge is not installed."""
    for program in ("munged", "slurmctld", "slurmd", "sbatch"):
        if not shutil.which(program, path=PATH):
            pytest.skip(f"{program} is not installed (Debian: slurm-wlm, munge)")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)  # munge wants its socket to be reached by all users
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "key").write_bytes(secrets.token_bytes(128))
    (folder / "key").chmod(0o600)
    (folder / "slurm.conf").write_text(
        CONFIG.format(
            host=socket.gethostname().partition(".")[0], controller_port=find_free_port(), node_port=find_free_port(),
            user=getpass.getuser(), folder=folder, cpus=len(os.sched_getaffinity(0)),
        )
    )  # fmt: skip
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # not used; the search for one fails in containers
    files = [f"--{name}-file={folder}/{name}" for name in ("key", "pid", "log", "seed")]
    with ExitStack() as servers:
        servers.callback(shutil.rmtree, folder)
        start(servers, folder, "munged", "--foreground", f"--socket={folder}/munge", *files)
        start(servers, folder, "slurmctld", "-D", "-c")
        start(servers, folder, "slurmd", "-D")
        wait_until_idle(folder)
        yield str(folder / "slurm.conf")


def start(servers: ExitStack, folder: Path, program: str, *arguments: str) -> None:
    with (folder / f"{program}.output").open("wb") as output:
        server = subprocess.Popen(
            [str(shutil.which(program, path=PATH)), *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
            stderr=output, env=os.environ | {"SLURM_CONF": str(folder / "slurm.conf")},
        )  # fmt: skip
    servers.callback(server.wait, 30)
    servers.callback(server.terminate)


def wait_until_idle(folder: Path) -> None:
    for _ in range(60):
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env=os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    raise AssertionError("\n".join(path.read_text()[-2000:] for path in folder.glob("*.output")))
