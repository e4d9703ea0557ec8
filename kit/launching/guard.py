"""What may go wrong around a job: whatever nemo-run raises, and a user who stops it."""

from __future__ import annotations

import logging
import signal
import threading
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from nemotron.lineage import LineageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

__all__ = ["Guard", "LaunchError", "stoppable"]

_log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PLAIN = (LineageError, ImportError)  # these are sentences already


class LaunchError(LineageError):
    """A job could not be submitted or watched. No secret is in its sentence."""


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
        said = " ".join(self._hide(str(error)).split()) or type(error).__name__
        # the text of the first error is not hidden, so it is no part of this one
        raise LaunchError(f"{self._words} failed: {said}") from None


@contextmanager
def stoppable() -> Iterator[None]:
    """Have Ctrl-C and a termination raise KeyboardInterrupt, whatever others made of them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt(number)

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
