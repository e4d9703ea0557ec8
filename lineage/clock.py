"""Times and ids: the two things that no replay can work out, taken in one place.

Times are kept as text, ``2026-11-24T08:00:00.000000Z``: always UTC, always six digits, so that
their order as text is their order in time. Ids come from the operating system, never from
``random``, which training scripts seed alike on every rank.
"""

from __future__ import annotations

import os
from base64 import b32encode
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock", "new_id", "read_time", "write_time"]


class Clock(Protocol):
    """Whatever tells the time; tests bring their own."""

    def now(self) -> str:
        """Return the present time as text."""


class SystemClock:
    """The clock of this machine. It may jump; the journal keeps its own order."""

    def now(self) -> str:
        """Return the present time as text."""
        return f"{datetime.now(UTC).isoformat(timespec='microseconds')[:-6]}Z"


def write_time(moment: datetime) -> str:
    """Write a time as text. A time without a zone is taken as UTC.

    >>> write_time(datetime(2026, 11, 24, 8, tzinfo=UTC))
    '2026-11-24T08:00:00.000000Z'
    """
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="microseconds") + "Z"


def read_time(text: str) -> datetime:
    """Read a time that ``write_time`` wrote, or any ISO 8601 time; without a zone it is UTC.

    >>> read_time("2026-11-24T08:00:00.000000Z").hour
    8
    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def new_id(size: int = 10) -> str:
    """Return a new id of ``size`` random bytes in lower-case base 32 (10 bytes: 16 letters)."""
    return b32encode(os.urandom(size)).decode("ascii").rstrip("=").lower()
