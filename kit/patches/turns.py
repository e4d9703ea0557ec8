"""Short turns of Python's threads, while training waits for one of ours."""

from __future__ import annotations

import sys
import threading

__all__ = ["ShortTurns"]

_SHORT = 1e-4  # seconds


class ShortTurns:
    """Has busy threads pass the interpreter's lock on sooner; may be entered by many at once.

    An act of ours asks the system for many small things, and with each it gives the lock away: a
    thread that computes would keep it for its whole turn, 5 ms, each time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._usual = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(_SHORT, self._usual))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                sys.setswitchinterval(self._usual)
