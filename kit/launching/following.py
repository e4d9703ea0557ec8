"""Follows the logs of a job, and says when it has ended."""

from __future__ import annotations

import codecs
import contextlib
import glob
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .outcome import Job, Outcome

__all__ = ["Growing", "GrowingFiles", "follow"]

_FIRST, _GROWTH = 0.2, 1.3  # seconds between two looks, and how they grow


class Growing:
    """A file of this machine that grows.

    Args:
        path: the file.
        is_error: whether it is the error output.
    """

    def __init__(self, path: str, *, is_error: bool = False) -> None:
        self.path, self.is_error = path, is_error
        self._at = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def news(self) -> str:
        """Return what was added since the last time."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._at)
                added = file.read()
        except FileNotFoundError:
            return ""
        self._at += len(added)
        return self._decoder.decode(added)


class GrowingFiles:
    """The files of a folder that fit a pattern, as they turn up.

    Args:
        folder: the folder.
        patterns: glob pattern to whether its files are error output.
    """

    def __init__(self, folder: str, patterns: dict[str, bool]) -> None:
        self._folder, self._patterns = folder, patterns
        self._files: dict[str, Growing] = {}

    def files(self) -> list[Growing]:
        """Return those that are there by now."""
        for pattern, is_error in self._patterns.items():
            found = glob.glob(os.path.join(glob.escape(self._folder), pattern))
            for path in sorted(found):
                self._files.setdefault(path, Growing(path, is_error=is_error))
        return list(self._files.values())


def follow(job: Job, *, slowest: float, sleep: Callable[[float], None] = time.sleep) -> Outcome:
    """Print the logs of a job until it has ended.

    Args:
        job: the job.
        slowest: seconds between two looks, at the most.
        sleep: waits.
    """
    pause = _FIRST
    while True:
        outcome = job.outcome()
        # after it has ended its logs are whole
        pause = _FIRST if _show(job) else min(pause * _GROWTH, slowest)
        if outcome is not None:
            return outcome
        sleep(pause)


def _show(job: Job) -> bool:
    shown = False
    for log in job.logs():
        text = log.news()
        if text:
            shown = True
            stream = sys.stderr if log.is_error else sys.stdout
            with contextlib.suppress(BrokenPipeError):  # the reader is gone, the job is not
                stream.write(text)
                stream.flush()
    return shown
