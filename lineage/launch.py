"""Who started this process: the job, the attempt, the group of ranks that is one run.

A *job* is what the launcher started and stays the same over requeues. A *run* is one attempt of
it: all ranks on all hosts join the same run, because they work out the same id from what the
launcher gave each of them. A process that no launcher put into a group is a run of its own.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .clock import new_id
from .model import RunStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model import RunInfo

__all__ = ["Launch", "Process", "children", "code_version", "with_fate"]

_IDS = (
    "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_STEP_ID",
    "SLURM_RESTART_COUNT", "SLURM_JOB_NAME", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT",
    "NEMO_EXPERIMENT_ID", "RAY_JOB_ID", "LINEAGE_JOB", "RANK", "WORLD_SIZE",
)  # fmt: skip
_BOOT = "/proc/sys/kernel/random/boot_id"
_GIT_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process that can be recognised later, even when its number was given to another."""

    host: str
    pid: int
    boot: str | None
    started: str | None

    @classmethod
    def current(cls) -> Process:
        """Describe this process."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _read(_BOOT), _start_of(pid))

    def is_gone(self) -> bool | None:
        """Tell whether it has ended; None when this host cannot know."""
        if self.host != socket.gethostname() or self.boot is None or self.started is None:
            return None
        if self.boot != _read(_BOOT):
            return None if _read(_BOOT) is None else True
        return _start_of(self.pid) != self.started


@dataclass(frozen=True, slots=True)
class Launch:
    """What the launcher told this process.

    Attributes:
        job: id of the job, or None when no launcher is known.
        group: what all ranks of this attempt share, or None for a process on its own.
        rank: 0 to world - 1.
        world: number of ranks.
        ids: the launcher's variables as they are.
    """

    job: str | None
    group: str | None
    rank: int = 0
    world: int = 1
    ids: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Launch:
        """Read the variables of nemo-run, Slurm, torchrun, Open MPI and our own launcher."""
        ids = {name: environ[name] for name in _IDS if environ.get(name)}
        return cls(
            job=_job(environ),
            group=_group(environ),
            rank=_number(environ, "RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"),
            world=_number(environ, "WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE") or 1,
            ids=ids,
        )

    def run_id(self, name: str, occasion: int) -> str:
        """Return the id of the run ``name``, opened for the ``occasion``-th time here."""
        if self.group is None:
            return new_id()
        text = f"{self.job}|{self.group}|{name}|{occasion}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _job(environ: Mapping[str, str]) -> str | None:
    if environ.get("LINEAGE_JOB"):
        return environ["LINEAGE_JOB"]
    if environ.get("NEMO_EXPERIMENT_ID"):
        return f"nemo-run:{environ['NEMO_EXPERIMENT_ID']}"
    if environ.get("SLURM_ARRAY_JOB_ID"):
        return f"slurm:{environ['SLURM_ARRAY_JOB_ID']}_{environ.get('SLURM_ARRAY_TASK_ID', '')}"
    if environ.get("SLURM_JOB_ID"):
        return f"slurm:{environ['SLURM_JOB_ID']}"
    if environ.get("TORCHELASTIC_RUN_ID", "none") != "none":
        return f"torchrun:{environ['TORCHELASTIC_RUN_ID']}"
    return None


def _group(environ: Mapping[str, str]) -> str | None:
    if environ.get("LINEAGE_RUN"):
        return environ["LINEAGE_RUN"]
    restart = environ.get("SLURM_RESTART_COUNT", "0")
    if "TORCHELASTIC_RUN_ID" in environ:
        parts = [environ["TORCHELASTIC_RUN_ID"], environ.get("TORCHELASTIC_RESTART_COUNT", "0")]
        parts += [environ.get("MASTER_ADDR", ""), environ.get("MASTER_PORT", ""), restart]
        if environ.get("GROUP_WORLD_SIZE", "1") == "1":
            # one node: its agent tells one torchrun from the next in the same allocation
            agent = os.getppid()
            parts += [socket.gethostname(), str(agent), _start_of(agent) or ""]
        return "torchrun " + " ".join(parts)
    step = environ.get("SLURM_STEP_ID", "")
    if step.isdigit() and _number(environ, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS") > 1:
        return f"srun {step} {restart}"
    if environ.get("PMIX_NAMESPACE") and _number(environ, "OMPI_COMM_WORLD_SIZE") > 1:
        return f"mpi {environ['PMIX_NAMESPACE']} {restart}"
    return None


def _number(environ: Mapping[str, str], *names: str) -> int:
    for name in names:
        if environ.get(name, "").isdigit():
            return int(environ[name])
    return 0


def user() -> str | None:
    """Return the name of the user, or their number when they have no name (containers)."""
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return str(os.getuid())


def python() -> str:
    """Return the version of Python."""
    return platform.python_version()


def code_version(folder: str | None = None) -> dict[str, Any]:
    """Return commit, branch and whether tracked files were changed; empty outside git.

    Asks ``git`` once, without taking its locks.
    """
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        result = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_GIT_TIMEOUT, check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if result.returncode != 0:
        return {}
    lines = result.stdout.splitlines()
    facts = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    if facts.get("branch.oid", "(initial)") == "(initial)":
        return {}
    dirty = any(not line.startswith("#") for line in lines)
    found: dict[str, Any] = {"commit": facts["branch.oid"], "dirty": dirty}
    if facts.get("branch.head") != "(detached)":
        found["branch"] = facts.get("branch.head")
    return found


def children(names: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return (number, start) of the programs of some names that this process started."""
    found = []
    for task in os.listdir("/proc/self/task") if names else ():
        for pid in map(int, (_read(f"/proc/self/task/{task}/children") or "").split()):
            started = _start_of(pid)
            if started is not None and _read(f"/proc/{pid}/comm") in names:
                found.append((pid, started))
    return found


def _read(path: str) -> str | None:
    with suppress(OSError), open(path, encoding="utf-8") as file:
        return file.read().strip()
    return None


def _start_of(pid: int) -> str | None:
    """Return when a process started, in ticks since boot (field 22 of proc(5) stat).

    None for one that has ended, also while nobody has asked how (a container may have no init).
    """
    stat = _read(f"/proc/{pid}/stat")
    fields = stat.rpartition(")")[2].split() if stat else ["X"]
    return None if fields[0] in ("Z", "X") else fields[19]


def with_fate(run: RunInfo) -> RunInfo:
    """Show a run as lost when nothing ended it and its process is known to be gone."""
    process = run.detail.get("process") or {}
    if run.status is RunStatus.RUNNING and run.host and process.get("pid"):
        known = Process(run.host, process["pid"], process.get("boot"), process.get("started"))
        if known.is_gone():
            return replace(run, status=RunStatus.LOST)
    return run
