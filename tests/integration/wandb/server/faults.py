"""What can go wrong on the way to a W&B server, one switch each."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

__all__ = ["Faults"]

EVERY = "*"


@dataclass
class _Rule:
    operation: str
    times: float
    status: int | None = None
    hang: bool = False
    lose: bool = False
    pending: bool = field(default=False)


class Faults:
    """The faults of one server; all of them are off at first.

    An operation is named as GraphQL calls it (``CommitArtifact``), ``upload`` and ``file_stream``
    name the plain requests, ``*`` all of them.
    """

    def __init__(self) -> None:
        self.latency = 0.0  # seconds before every answer
        self.is_down = False  # connections are cut without an answer
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._go_on = threading.Event()

    def status(self, operation: str, code: int, times: float = float("inf")) -> None:
        """Answer an operation with an HTTP status, so many times."""
        self._rules.append(_Rule(operation, times, status=code))

    def hang(self, operation: str, times: float = float("inf")) -> None:
        """Never answer an operation, until ``clear``."""
        self._go_on.clear()
        self._rules.append(_Rule(operation, times, hang=True))

    def lose_reply(self, operation: str, times: float = 1) -> None:
        """Do what was asked, and cut the connection before the answer."""
        self._rules.append(_Rule(operation, times, lose=True))

    def clear(self) -> None:
        """Be well again; what hung is cut off."""
        with self._lock:
            self._rules.clear()
            self.is_down, self.latency = False, 0.0
            self._go_on.set()

    # ------------------------------------------------------------- for the server

    def before(self, operation: str) -> int | None:
        """Wait, and return the status to answer with; None lets it through, 0 cuts the line."""
        if self.latency:
            time.sleep(self.latency)
        if self.is_down:
            return 0
        rule = self._take(operation, losing=False)
        if rule is None:
            return None
        if rule.hang:
            self._go_on.wait()
            return 0
        return rule.status

    def loses(self, operation: str) -> bool:
        """Tell whether the answer that is ready gets lost."""
        return self._take(operation, losing=True) is not None

    def _take(self, operation: str, *, losing: bool) -> _Rule | None:
        with self._lock:
            for rule in self._rules:
                if rule.lose == losing and rule.operation in (operation, EVERY) and rule.times > 0:
                    rule.times -= 1
                    return rule
        return None
