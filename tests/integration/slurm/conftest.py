"""A real Slurm of one node, and a real sshd, on 127.0.0.1 alone; gone when the tests are."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nemotron import lineage

ROOT = Path(__file__).parents[3]
PROGRAMS = ("slurmctld", "slurmd", "munged", "mungekey", "sbatch", "sshd", "ssh-keygen", "rsync")
CONF = """\
ClusterName=ci
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldParameters=enable_configless
MinJobAge=300
KillWait=2
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=gpu Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
"""
SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/ssh/host
AuthorizedKeysFile {folder}/ssh/user.pub
PidFile {folder}/sshd.pid
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv SLURM_CONF={folder}/slurm.conf
"""
Until = Callable[..., object]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    why = "it needs root" if os.geteuid() else f"there is no {', '.join(missing)}"
    if os.geteuid() or missing:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=why))


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Slurm that runs.

    Attributes:
        folder: its own folder.
        port: of sshd.
        key: private key for ssh.
    """

    folder: Path
    port: int
    key: Path

    def run(self, *words: str, check: bool = True) -> str:
        """Run a command of Slurm."""
        return subprocess.run(
            words, capture_output=True, text=True, check=check,
            env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")},
        ).stdout  # fmt: skip

    def state(self, job: str) -> str:
        """Return the state of a job."""
        return self.run("scontrol", "show", "job", job).partition("JobState=")[2].split()[0]

    def start_sshd(self) -> None:
        """Start sshd."""
        sshd = shutil.which("sshd") or ""
        log = self.folder / "log" / "sshd.log"
        words = [sshd, "-f", str(self.folder / "sshd.conf"), "-E", str(log)]
        subprocess.run(words, check=True)
        until((self.folder / "sshd.pid").exists, "sshd")

    def stop_sshd(self) -> None:
        """Stop sshd, and cut the connections that there are."""
        pid = (self.folder / "sshd.pid").read_text().strip()
        # once it is gone, they are nobody's children
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        _stop(self.folder / "sshd.pid")
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)


def until(holds: Callable[[], object], what: str = "it", seconds: float = 120.0) -> object:
    """Wait until something holds, and return what it says.

    The bound is for what never comes: a busy machine takes ten seconds to import nemo-run.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come within {seconds} s")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    # readable by others, as /home of a cluster is; pytest's own folders are not
    folder = Path(tempfile.mkdtemp(prefix="lineage-slurm-"))
    folder.chmod(0o755)
    for name in ("state", "spool", "log", "ssh"):
        (folder / name).mkdir()
    # where sshd leaves its privileges; it stays: another one may run here by now
    Path("/run/sshd").mkdir(exist_ok=True)
    try:
        yield _start(folder)
    finally:
        _cancel_all(folder)
        for name in ("sshd", "slurmd", "slurmctld", "munged"):
            _stop(folder / f"{name}.pid")
        shutil.rmtree(folder, ignore_errors=True)


def _start(folder: Path) -> Cluster:
    key = folder / "munge.key"
    subprocess.run(["mungekey", "-c", "-k", str(key)], check=True)
    subprocess.run(
        [
            "munged", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munged.pid", f"--log-file={folder}/log/munged.log",
            f"--seed-file={folder}/munge.seed",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    ports = _free_ports(3)
    conf = folder / "slurm.conf"
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    conf.write_text(
        CONF.format(
            folder=folder, ports=ports, host=socket.gethostname().partition(".")[0],
            cpus=os.cpu_count(), memory=pages // 2**21,
        )
    )  # fmt: skip
    environ = {**os.environ, "SLURM_CONF": str(conf)}
    for daemon in ("slurmctld", "slurmd"):
        subprocess.run([daemon, "-f", str(conf)], check=True, env=environ)
    for name in ("host", "user"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "ssh" / name)]
        subprocess.run(words, check=True)
    settings = folder / "sshd.conf"
    settings.write_text(SSHD.format(folder=folder, port=ports[2]))
    found = Cluster(folder, ports[2], folder / "ssh" / "user")
    found.start_sshd()
    sinfo = ["sinfo", "-h", "-o", "%T"]
    until(
        lambda: subprocess.run(
            sinfo, capture_output=True, text=True, check=False, env=environ
        ).stdout.strip() == "idle",
        "the node",
    )  # fmt: skip
    return found


def _cancel_all(folder: Path) -> None:
    """End the jobs that a failed test left behind: they would outlive the daemons."""
    environ = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def run(*words: str) -> str:
        found = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
        return found.stdout.strip()

    run("scancel", "--user=root")
    until(lambda: not run("squeue", "-h"), "the end of all jobs")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _stop(pid_file: Path) -> None:
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    until(lambda: _is_gone(pid), pid_file.stem)


def _is_gone(pid: int) -> bool:
    """Tell whether a process has ended; nobody may have asked for its status yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


# ---------------------------------------------------------------------- a user of it


@dataclass(frozen=True, slots=True)
class Result:
    """What ``lineage run`` came to."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a home and a project on the cluster.

    Attributes:
        home: the home folder.
        project: the working folder, with env.toml.
        environ: the environment.
        started: its processes.
    """

    home: Path
    project: Path
    environ: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list, repr=False)

    def settings(self, *lines: str, **sections: str) -> None:
        """Write env.toml with a profile ``ci``."""
        text = ["[artifacts]", 'store = "lineage.db"', *sections.values()]
        text += ["[ci]", 'executor = "slurm"', 'account = "team"', 'partition = "gpu"']
        (self.project / "env.toml").write_text("\n".join([*text, 'time = "00:05:00"', *lines]))

    def start(self, *words: object, **more: str) -> subprocess.Popen[str]:
        """Start ``lineage WORDS``."""
        process = subprocess.Popen(
            [sys.executable, "-m", "nemotron.lineage.cli.main", *map(str, words)],
            cwd=self.project, env={**self.environ, **more}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        return process

    def lineage(self, *words: object, **more: str) -> Result:
        """Run ``lineage WORDS``."""
        process = self.start(*words, **more)
        out, err = process.communicate(timeout=300)
        return Result(process.returncode, out, err)

    def number(self) -> str:
        """Return Slurm's number of the job that was launched, which may start before we know it."""

        def found() -> object:
            if not (self.project / "lineage.db").exists():
                return None
            with lineage.open(self.project / "lineage.db") as store:
                runs = (run for run in store.runs() if run.name == "launch")
                return next((run.config["job"] for run in runs), None)

        return str(until(found, "the launch"))

    def script(self, text: str, name: str = "job.py") -> str:
        """Write a script into the project and return the path of the Python that runs it."""
        (self.project / name).write_text(text)
        return sys.executable


@pytest.fixture
def user(cluster: Cluster) -> Iterator[User]:
    folder = Path(tempfile.mkdtemp(prefix="user-", dir=cluster.folder))
    folder.chmod(0o755)
    home, project = folder / "home", folder / "project"
    for each in (home, project, folder / "bin"):
        each.mkdir()
    # ssh goes by the password file's home, whatever HOME says
    shim = folder / "bin" / "ssh"
    shim.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -o UserKnownHostsFile={folder}/hosts "$@"\n')
    shim.chmod(0o755)
    foreign = ("LINEAGE_", "NEMOTRON_", "SLURM_", "WANDB_", "HF_", "NEMO", "RAY_", "XDG_")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    environ |= {
        "HOME": str(home), "SLURM_CONF": str(cluster.folder / "slurm.conf"),
        "PYTHONPATH": str(ROOT / "tools" / "ns"), "OPENBLAS_NUM_THREADS": "1",
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
    }  # fmt: skip
    found = User(home, project, environ)
    found.settings()
    before = os.umask(0o022)  # what most people have
    yield found
    os.umask(before)
    for process in found.started:  # of a test that failed
        if process.poll() is None:
            process.kill()
            process.communicate()
    shutil.rmtree(folder, ignore_errors=True)
