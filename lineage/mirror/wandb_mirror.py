"""W&B as a mirror: which events concern it, which runs, and who makes the deliveries."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..events import (
    AliasMoved,
    Deleted,
    Described,
    Found,
    Missing,
    Published,
    Relocated,
    Replaced,
    RunEnded,
    RunStarted,
    Sealed,
    Used,
)
from ..model import VersionId
from .base import Due, Mirror
from .wandb import Server
from .wandb_desk import WandbDesk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..commits import Entry
    from ..registry import Lineage
    from ..shelf import Shelf
    from .chosen import Wandb
    from .lease import Lease
    from .wandb_live import LiveRun, Upload

__all__ = ["WandbMirror"]

_ABOUT = (Described, Sealed, Relocated, Deleted, Replaced, Missing, Found)
_UPLOAD = 60.0  # seconds to wait for an upload before others are looked after


class WandbMirror(Mirror):
    """W&B, fed from the journal.

    Args:
        place: which project and server, and whether all runs are mirrored.
        live: the run that is live in this process, if there is one.
        leases: the shelf of the leases, for what several runs share.
        again: whether what W&B lost is logged anew although there is a receipt.
        upload: seconds to wait for an upload.
    """

    name = "wandb"
    helpers = ("wandb-core",)

    def __init__(
        self,
        place: Wandb,
        *,
        live: LiveRun | None = None,
        leases: Shelf | None = None,
        again: bool = False,
        upload: float = _UPLOAD,
    ) -> None:
        self.place, self.live, self.leases = place, live, leases
        self.again, self.upload = again, upload
        self.uploads: dict[str, Upload] = {}  # what this process has on its way
        self._servers: dict[str | None, Server] = {}

    def concerns(self, entry: Entry, producer: Callable[[VersionId], str | None]) -> Iterable[Due]:
        """Say which subjects an event changes."""
        event = entry.event
        match event:
            case RunStarted() | RunEnded():
                yield Due(f"run:{event.run}", event.run)
            case Used():
                yield Due(entry.id, event.run)
            case Published():
                yield Due(str(event.version), event.run or "")
            case AliasMoved():
                for number in (event.to, event.was):
                    if number is not None:
                        version = VersionId(event.name, number)
                        yield Due(str(version), producer(version) or "")
            case _ if isinstance(event, _ABOUT) and isinstance(event.version, VersionId):
                yield Due(str(event.version), producer(event.version) or "")
            case _:
                pass

    def covers(self, run: str, link: Mapping[str, Any] | None) -> bool:
        """Tell whether a run is mirrored: W&B has a run for it, or all are."""
        return bool(run) and (link is not None or self.place.all_runs)

    def where(self, link: Mapping[str, Any] | None) -> str:
        """Return the address of the server of a run; "" means the one that is configured."""
        return str((link or {}).get("base_url") or "")

    def check(self, link: Mapping[str, Any] | None) -> None:
        """Look whether the server answers."""
        self.server(self.where(link)).probe()

    @contextmanager
    def opening(
        self, run: str, link: Mapping[str, Any] | None, store: Lineage, lease: Lease
    ) -> Iterator[WandbDesk]:
        """Open the desk of a run."""
        desk = WandbDesk(self, run, dict(link or {}), store, lease)
        try:
            yield desk
        finally:
            desk.close()

    def server(self, base_url: str | None) -> Server:
        """Return the server at an address; None means the one that is configured."""
        if self.live is not None:
            base_url = self.live.base_url
        base_url = base_url or self.place.base_url or None
        if base_url not in self._servers:
            key = None if self.live is None else self.live.api_key
            self._servers[base_url] = Server(base_url, key)
        return self._servers[base_url]
