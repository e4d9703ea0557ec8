"""What may go wrong around a job: whatever nemo-run raises, and a user who stops it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nemotron.lineage import LineageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

__all__ = ["Guard", "LaunchError", "Stopped", "stoppable"]

_log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STDERR = 2  # a signal may come in the middle of a print
_HELD = b"lineage: the job is cancelled once it is submitted; a second time leaves it alone\n"
_PLAIN = (LineageError, ImportError)  # these are sentences already


class LaunchError(LineageError):
    """A job could not be submitted or watched. No secret is in its sentence."""


class Stopped(BaseException):
    """The user stops the launcher.

    It is no KeyboardInterrupt: nemo-run runs its commands by invoke, which keeps that to itself
    while a command runs, and the launcher would go on.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Guard:
    """Turns whatever is raised in its block into one sentence without secrets.

    Args:
        words: what is being done, for the sentence.
        hide: takes secrets out of a text.
    """

    def __init__(self, words: str, hide: Callable[[str], str]) -> None:
        self._words, self._hide = words, hide

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """Turn an error into a LaunchError."""
        # nemo-run ends the program where a login over ssh fails
        if not isinstance(error, (Exception, SystemExit)) or isinstance(error, _PLAIN):
            return
        told = self._hide("".join(traceback.format_exception(kind, error, trace)))
        _log.debug("%s", told)
        # a command of nemo-run that failed: what it said, without the command and its headings
        said = getattr(getattr(error, "result", None), "stderr", "") or str(error)
        said = " ".join(self._hide(said).split()) or type(error).__name__
        # the text of the first error is not hidden, so it is no part of this one
        raise LaunchError(f"{self._words} failed: {said}") from None


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C and a termination back until it is known what to cancel; a second one is not.

    Yields:
        What says so: from that call on they raise Stopped, one that was held back too.

    Raises:
        KeyboardInterrupt: the block did not see to it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    held: list[int] = []
    is_holding = True

    def stop(number: int, _frame: FrameType | None) -> None:
        if not is_holding or held:
            raise Stopped(number)
        held.append(number)
        os.write(_STDERR, _HELD)

    def heed() -> None:
        nonlocal is_holding
        is_holding = False
        for number in _SIGNALS:
            signal.signal(number, stop)  # whatever others made of them
        if held:
            raise Stopped(held[0])

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield heed
    except Stopped as stopped:
        raise KeyboardInterrupt(stopped.number) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
