"""A job that nemo-run itself watches: a local process, a container, a job of a cloud."""

from __future__ import annotations

import glob
import json
import os
from typing import TYPE_CHECKING, Any

from nemotron.lineage import RunStatus

from .following import GrowingFiles
from .outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .outcome import LogFile

__all__ = ["CloudJob", "NemoJob"]

_STATES = {"SUCCEEDED": RunStatus.OK, "FAILED": RunStatus.FAILED, "CANCELLED": RunStatus.ABORTED}
_TERMINATED = 143


class NemoJob:
    """The one task of an experiment.

    Args:
        experiment: the experiment, in its ``with`` block.
        name: the task.
        patterns: glob pattern of logs in the task's folder, to whether it is error output.
    """

    def __init__(self, experiment: Any, name: str, patterns: dict[str, bool]) -> None:
        self._experiment, self._name = experiment, name
        self.folder: str = experiment.jobs[0].executor.job_dir
        self.number: str = experiment.jobs[0].handle.rpartition("/")[2]
        self._files = GrowingFiles(self.folder, patterns)

    def outcome(self) -> Outcome | None:
        """Return how it ended, or None while it has not."""
        state = self._state()
        status = _STATES.get(state)
        if status is None:
            return None
        if status is RunStatus.OK:
            return Outcome(status, 0, state)
        code = self._code() or (_TERMINATED if status is RunStatus.ABORTED else 1)
        return Outcome(status, code, state)

    def logs(self) -> Iterator[LogFile]:
        """Yield its logs on this machine."""
        yield from self._files.files()

    def cancel(self) -> None:
        """Stop it."""
        self._experiment.cancel(self._name)

    def _state(self) -> str:
        state = self._experiment.status(return_dict=True)[self._name]["status"]
        return getattr(state, "name", str(state))

    def _code(self) -> int:
        """Return the exit status that the job left behind: that of the first rank that failed."""
        scripts = os.path.join(glob.escape(self.folder), "scripts", "*.status.*")
        for path in sorted(glob.glob(scripts)):
            with open(path, encoding="ascii") as file:
                text = file.read()
            if text.isdigit() and int(text):
                return int(text)
        for path in glob.glob(os.path.join(glob.escape(self.folder), "status_*.out")):
            with open(path, encoding="utf-8") as file:
                return int(json.load(file)["exit_code"])
        return 0


class CloudJob(NemoJob):
    """A job whose logs only nemo-run can get at: it prints them while it waits."""

    def _state(self) -> str:
        job = self._experiment.jobs[0]
        job.wait()
        return getattr(job.state, "name", str(job.state))
