"""Who delivers what to a mirror: one process at a time, until it ends or does not get on.

A lease is a content beside the journal, ``<what>.<fence>.json``, made exclusively: a file, an
object or a row. Its number, the fence, grows with every holder: who no longer has the highest one
stops. The holder writes a new time of expiry into it now and then. A holder of this host whose
process is gone is overtaken at once; another one when its time is over, which allows for clocks
that differ by half a minute.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ..errors import StoreError
from ..launch import Process, children
from ..metadata import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..shelf import Shelf

__all__ = ["Holder", "Lease", "leases_of"]

TERM = 120.0  # seconds after which a holder that does not renew is overtaken
_RENEWALS = 4  # in a term
_SKEW = 30.0  # seconds by which clocks of hosts may differ
_AFTERLIFE = 600.0  # seconds for which a helper of a holder that is gone is waited for
_NAME = re.compile(r"(\d+)\.json")


class Holder(NamedTuple):
    """Who has a lease.

    Attributes:
        who: in words.
        is_passing: it is gone in a moment, so that waiting for it is worth while.
    """

    who: str
    is_passing: bool = False


class Lease:
    """The right to deliver one thing, while it lasts. Take it with ``take``.

    Attributes:
        fence: grows with every holder.
    """

    def __init__(  # what is told by take
        self, shelf: Shelf | None, folder: str, what: str, *, term: float,
        clock: Callable[[], float], helpers: tuple[str, ...],
    ) -> None:  # fmt: skip
        self.fence = 0
        self._shelf, self._folder, self._what = shelf, folder, what
        self._term, self._clock, self._helpers = term, clock, helpers
        self._key = hashlib.sha256(what.encode()).hexdigest()[:24]
        self._stop = threading.Event()
        self._writing = threading.Lock()  # what is given back is not taken again by a renewal
        self._lost = self._is_busy = False

    @classmethod
    def take(
        cls,
        shelf: Shelf | None,
        folder: str,
        what: str,
        *,
        helpers: tuple[str, ...] = (),
        term: float = TERM,
        clock: Callable[[], float] = time.time,
    ) -> Self | Holder:
        """Take the lease of something, or say who has it.

        Args:
            shelf: what all hosts share beside the journal; None where one process has the journal.
            folder: where the leases of a mirror lie on it.
            what: e.g. the id of a run.
            helpers: names of programs that the holder starts, and that finish what it began; see
                ``mark_busy``.
            term: seconds that it lasts without being renewed.
            clock: the time, in seconds.

        Raises:
            StoreError, OSError: it cannot be written.
        """
        lease = cls(shelf, folder, what, term=term, clock=clock, helpers=helpers)
        return lease._begin() or lease

    def _begin(self) -> Holder | None:
        """Take the next number, and return who was there before."""
        if self._shelf is None:
            return None
        before = self._fences()
        if before:
            why = _holds(self._read(before[-1]), self._clock())
            if why is not None:
                return why
        self.fence = (before[-1] if before else 0) + 1
        faster = Holder("another process, which was faster", is_passing=True)
        try:
            self._shelf.put_new(self._name(self.fence), self._text())
        except FileExistsError:
            return faster
        if not self.is_mine:  # two others came and went in between
            self._remove([self.fence])
            return faster
        self._remove(before)
        threading.Thread(target=self._renew, name="lineage-lease", daemon=True).start()
        return None

    @property
    def is_mine(self) -> bool:
        """Whether nobody has overtaken this holder."""
        if self._shelf is not None and not self._lost:
            fences = self._fences()
            self._lost = not fences or fences[-1] != self.fence
        return not self._lost

    def mark_busy(self, *, busy: bool = True) -> None:
        """Note that a helper has something in hand: if the holder dies, it may still finish it."""
        if busy != self._is_busy:
            self._is_busy = busy
            self._write()

    def release(self) -> None:
        """Give it back, for the next one to take at once."""
        self._stop.set()
        if self._shelf is not None:
            with self._writing, suppress(StoreError, OSError):  # then it expires
                if self.is_mine:
                    self._shelf.put_over(self._name(self.fence), b'{"released":true}\n')

    def __enter__(self) -> Self:
        """Return the lease itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        self.release()

    def _renew(self) -> None:
        while not self._stop.wait(self._term / _RENEWALS):
            self._write()
            if self._lost:
                return

    def _write(self) -> None:
        if self._shelf is not None:
            with self._writing, suppress(StoreError, OSError):  # the next time, or another goes on
                if self.is_mine and not self._stop.is_set():
                    self._shelf.put_over(self._name(self.fence), self._text())

    def _text(self) -> bytes:
        process = Process.current()
        values = {
            "what": self._what, "until": self._clock() + self._term, "host": process.host,
            "pid": process.pid, "boot": process.boot, "started": process.started,
            "helpers": children(self._helpers) if self._is_busy else [],
        }  # fmt: skip
        return canonical_json(values).encode() + b"\n"

    def _name(self, fence: int) -> str:
        return f"{self._folder}/{self._key}.{fence}.json"

    def _fences(self) -> list[int]:
        assert self._shelf is not None  # asked before
        mark = f"{self._key}."
        names = self._shelf.names(self._folder)
        rests = [name.removeprefix(mark) for name in names if name.startswith(mark)]
        return sorted(int(match[1]) for rest in rests if (match := _NAME.fullmatch(rest)))

    def _read(self, fence: int) -> dict[str, Any]:
        assert self._shelf is not None  # asked before
        try:
            holder = json.loads(self._shelf.read(self._name(fence)))
        except (OSError, ValueError):
            return {}  # another one took it in this moment; the exclusive file decides
        return holder if isinstance(holder, dict) else {}

    def _remove(self, fences: list[int]) -> None:
        assert self._shelf is not None  # asked before
        with suppress(StoreError, OSError):
            self._shelf.remove([self._name(fence) for fence in fences])


def leases_of(mirror: str) -> str:
    """Return the folder of the leases of a mirror."""
    return f"mirrors/{mirror}"


def _holds(holder: dict[str, Any], now: float) -> Holder | None:
    """Say who holds a lease, or return None when nobody does any more."""
    if holder.get("released") or not holder.get("host"):
        return None
    host, until = holder["host"], float(holder.get("until", 0))
    shown = f"process {holder['pid']} on {host}"
    process = Process(host, holder["pid"], holder.get("boot"), holder.get("started"))
    if not process.is_gone():
        return None if now > until + _SKEW else Holder(shown)
    for pid, started in holder.get("helpers", ()):
        helper = Process(host, pid, holder.get("boot"), started)
        if helper.is_gone() is False and now < until + _AFTERLIFE:
            who = f"process {pid} on {host}, which finishes what {shown} began"
            return Holder(who, is_passing=True)
    return None
