"""A job of Slurm: its state, exit status and logs, asked of Slurm itself.

nemo-run asks ``sacct`` alone, which knows no exit status by its answer and is not everywhere.
"""

from __future__ import annotations

import base64
import codecs
import os
import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nemotron.lineage import RunStatus

from ..executors.classes import submodule
from ..executors.sourced import FOLDER, NAME
from .following import GrowingFiles
from .guard import LaunchError
from .outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .outcome import LogFile

__all__ = ["SlurmJob", "command_runner", "local_folder"]

_FACTS = re.compile(r"JobState=(\S+).*?ExitCode=(\d+):(\d+)", re.DOTALL)
_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
    "PREEMPTED", "REVOKED", "TIMEOUT",
}  # fmt: skip
_ABORTED = ("CANCELLED", "REVOKED")
_PATIENCE = 60  # looks that Slurm does not answer
_SIGNAL, _TERMINATED = 128, 143
_LOST = 255  # as ssh says it


class SlurmJob:
    """A job that was handed to sbatch.

    Args:
        number: its id.
        run: runs a command where Slurm is, and returns (exit status, standard output).
        folder: where its logs are.
        is_here: whether this machine sees that folder.
        logs: glob pattern of its output.
    """

    def __init__(
        self,
        number: str,
        run: Callable[[str], tuple[int, str]],
        folder: str,
        *,
        is_here: bool,
        logs: str | None = None,
    ) -> None:
        self.number = number
        self._run, self.folder = run, folder
        self._silent = 0
        self._logs = logs or f"log-*_{number}_*.out"
        self._files = GrowingFiles(folder, {self._logs: False}) if is_here else None
        self._remote: dict[str, _Remote] = {}

    def outcome(self) -> Outcome | None:
        """Return how it ended, or None while it has not.

        Raises:
            LaunchError: Slurm does not know it any more, or cannot be reached.
        """
        facts = self._facts()
        if not facts:
            self._silent += 1
            if self._silent > _PATIENCE:
                raise LaunchError(
                    f"Slurm tells nothing of job {self.number}, which may still run; "
                    f"look with: sacct -j {self.number}"
                )
            return None
        self._silent = 0
        if any(state not in _ENDED for state, _, _ in facts):
            return None
        # one that was cancelled while it waited never came to do it
        self._run(f"rm -f -- {shlex.quote(os.path.join(self.folder, FOLDER, NAME))}")
        worst = max((_outcome(*each) for each in facts), key=_badness)
        if worst.status is RunStatus.FAILED and not list(self.logs()):
            advice = f"its command did not begin, and the logs in {self.folder} tell why"
            return replace(worst, advice=advice)
        return worst

    def logs(self) -> Iterator[LogFile]:
        """Yield the output of its tasks."""
        if self._files is not None:
            yield from self._files.files()
            return
        folder = shlex.quote(self.folder)
        status, listed = self._run(f"ls -1 {folder}/{self._logs} 2>/dev/null")
        for path in listed.split() if status == 0 else ():
            self._remote.setdefault(path, _Remote(path, self._run))
        yield from self._remote.values()

    def cancel(self) -> None:
        """Stop it.

        Raises:
            LaunchError: Slurm did not hear it.
        """
        status, _ = self._run(f"scancel {self.number}")
        # one that waited is gone at once, and takes its secrets along in this way alone
        if self.outcome() is None and status != 0:
            raise LaunchError(
                f"job {self.number} could not be cancelled, and may still run; "
                f"say: scancel {self.number}"
            )

    def _facts(self) -> list[tuple[str, int, int]]:
        """Return (state, exit status, signal) of it, and of each element where it is an array."""
        status, text = self._run(f"scontrol show job {self.number}")
        found: list[tuple[Any, ...]] = _FACTS.findall(text) if status == 0 else []
        if not found:  # forgotten by the controller
            query = f"sacct -n -P -X -j {self.number} -o State,ExitCode"
            status, text = self._run(query)
            rows = [line.split("|") for line in text.split("\n") if "|" in line]
            found = [(state, *code.split(":")) for state, code in rows] if status == 0 else []
        return [(state.split()[0].rstrip("+"), int(code), int(signal))
                for state, code, signal in found]  # fmt: skip


class _Remote:
    """A log on the other side of ssh, read on from where it was."""

    is_error = False

    def __init__(self, path: str, run: Callable[[str], tuple[int, str]]) -> None:
        self._path, self._run, self._at = path, run, 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def news(self) -> str:
        # encoded, since it may end within a character: then what came back would be of no length
        path = shlex.quote(self._path)
        status, text = self._run(f"tail -c +{self._at + 1} -- {path} | base64 -w 0")
        if status != 0:
            return ""
        added = base64.b64decode(text)
        self._at += len(added)
        return self._decoder.decode(added)


def _outcome(state: str, code: int, signal: int) -> Outcome:
    if state == "COMPLETED":
        return Outcome(RunStatus.OK, 0, state)
    found = code or (_SIGNAL + signal if signal else 0)
    if state.startswith(_ABORTED):
        return Outcome(RunStatus.ABORTED, found or _TERMINATED, state)
    return Outcome(RunStatus.FAILED, found or 1, state)


def _badness(outcome: Outcome) -> int:
    return [RunStatus.OK, RunStatus.ABORTED, RunStatus.FAILED].index(outcome.status)


def command_runner(tunnel: Any) -> Callable[[str], tuple[int, str]]:
    """Return what runs a command through a tunnel of nemo-run.

    A connection that is lost is no answer; the next command connects anew.
    """
    lost = (EOFError, OSError, SystemExit, submodule("core.tunnel.client").paramiko.SSHException)

    def run(command: str) -> tuple[int, str]:
        try:
            # in_stream: a job's output must not swallow what is typed here
            result = tunnel.run(command, warn=True, in_stream=False)
        except lost:
            return _LOST, ""
        return int(result.return_code), str(result.stdout)

    return run


def local_folder(executor: Any) -> str:
    """Return the folder of a job as the tunnel's other side sees it."""
    return os.path.join(str(executor.tunnel.job_dir), os.path.basename(executor.job_dir))
