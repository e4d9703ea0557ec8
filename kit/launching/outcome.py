"""How a job ended, and what it is to a launcher while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemotron.lineage import RunStatus

__all__ = ["Job", "LogFile", "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: ok, failed or aborted.
        code: exit status of the job; never 0 unless it is ok.
        said: what the scheduler calls it.
        advice: where to look, when its own output cannot tell why.
    """

    status: RunStatus
    code: int
    said: str
    advice: str = ""


class LogFile(Protocol):
    """A log that grows."""

    is_error: bool

    def news(self) -> str:
        """Return what was added since the last time."""


class Job(Protocol):
    """A job that was submitted.

    Attributes:
        number: its id for whatever runs it.
        folder: where its logs are, as that side sees it.
    """

    number: str
    folder: str

    def outcome(self) -> Outcome | None:
        """Return how it ended, or None while it has not."""

    def logs(self) -> Iterator[LogFile]:
        """Yield its logs; one that is new comes at a later call."""

    def cancel(self) -> None:
        """Stop it."""
