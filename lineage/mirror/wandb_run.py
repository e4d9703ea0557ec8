"""The W&B run of a lineage run: found, made or resumed, and brought to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..model import RunStatus
from .base import Elsewhere

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..model import RunInfo
    from ..registry import Lineage
    from .wandb import Server
    from .wandb_live import LiveRun
    from .wandb_mirror import WandbMirror

__all__ = ["RunThere"]

_BAD_ENDS = (RunStatus.FAILED, RunStatus.ABORTED)


class RunThere:
    """The W&B run that the deliveries of one lineage run belong to.

    Args:
        mirror: what delivers.
        server: where it is.
        run: id of the lineage run.
        link: what its receipt says; empty where W&B was not told of it yet.
        store: the store that holds the lineage run.
    """

    def __init__(
        self, mirror: WandbMirror, server: Server, run: str, link: Mapping[str, Any], store: Lineage
    ) -> None:
        self._mirror, self._server, self._run = mirror, server, run
        self._link, self._store = link, store
        self._is_ours = not link or bool(link.get("made"))
        self._live: LiveRun | None = None
        self._project = str(link.get("project") or mirror.place.project or "uncategorized")
        self._entity = link.get("entity") or mirror.place.entity

    def place(self) -> str:
        """Return ``entity/project``; the server is asked for the entity where nobody named one."""
        if self._entity is None:
            self._entity = self._server.default_entity()
        return f"{self._entity}/{self._project}"

    @property
    def path(self) -> str:
        """The W&B run: that of the receipt, else one with the id of the lineage run."""
        return f"{self.place()}/{self._link.get('id') or self._run}"

    def deliver(self) -> dict[str, Any]:
        """Bring the run up to date, and return the facts of its receipt."""
        if self._is_ours or self._link.get("offline"):
            self.reach()
        if self._is_ours and self._live is None and self._server.run(self.path) is not None:
            info = self._store.run_info(self._run)
            if info.status in _BAD_ENDS:
                self.resume(info)  # closing it says how it ended
        facts = {
            "name": self.path, "id": self.path.rpartition("/")[2], "entity": self._entity,
            "project": self._project, "base_url": self._server.base_url,
            "url": self._link.get("url") or self._url(), "offline": False,
        }  # fmt: skip
        return {**facts, "made": True} if self._is_ours else facts

    def _url(self) -> str | None:
        if self._live is not None:
            return self._live.url
        found = self._server.run(self.path)
        return None if found is None else found.url

    def reach(self) -> None:
        """Make sure that W&B has the run."""
        if self._live is None and self._server.run(self.path) is None:
            self.resume()

    def resume(self, info: RunInfo | None = None) -> LiveRun:
        """Return the run live in this process.

        Raises:
            Elsewhere: it cannot be live here.
        """
        live = self._mirror.live
        if live is not None and live.path == self.path:
            if not live.is_open:
                raise Elsewhere("the W&B run has ended in this process; deliver with: lineage sync")
            return live
        if live is not None:
            raise Elsewhere(f"W&B run {self.path} is not live here; deliver with: lineage sync")
        if self._live is None:
            told = None
            if self._is_ours:
                info = info or self._store.run_info(self._run)
                told = {
                    "name": info.name, "job_type": info.job_type, "group": info.job,
                    "config": {**info.config, "lineage_run": f"run:{self._run}"},
                }  # fmt: skip
            self._live = self._server.resume(self.path, told=told)
        return self._live

    def close(self) -> None:
        """Finish the run, where it was made live for these deliveries."""
        if self._live is None:
            return
        failed = self._store.run_info(self._run).status in _BAD_ENDS
        self._live.finish(1 if failed else 0)
        self._live = None
