"""State that a forked child must not share with its parent: it begins anew there."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod

__all__ = ["PerProcess"]


class PerProcess(ABC):
    """Holds handles (connections, locks, descriptors) that belong to one process.

    Training frameworks fork in the middle of a save (Megatron-Bridge twice per checkpoint), and a
    connection or a lock that a child inherits is a trap: using it disturbs the parent, closing it
    may too. Every public method calls ``_own`` first.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._inherited: list[dict[str, object]] = []
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Set every handle to its initial state."""

    def _own(self) -> None:
        """Make sure that the handles are this process's own."""
        if self._pid != os.getpid():
            # keep the parent's objects alive, so that no collector closes them in this process
            self._inherited.append(dict(vars(self)))
            self._pid = os.getpid()
            self._begin()
