"""A clock that tells what the test sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ..clock import write_time

__all__ = ["SetClock"]


class SetClock:
    """Starts at a fixed time and ticks by a microsecond at each look.

    >>> clock = SetClock()
    >>> clock.now()
    '2026-01-01T00:00:00.000001Z'
    >>> clock.move(hours=-1)
    >>> clock.now()
    '2025-12-31T23:00:00.000002Z'
    """

    def __init__(self) -> None:
        self._moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> str:
        """Return the present time as text."""
        self._moment += timedelta(microseconds=1)
        return write_time(self._moment)

    def move(self, **by: float) -> None:
        """Jump forwards or backwards, by what ``timedelta`` takes."""
        self._moment += timedelta(**by)
