"""The W&B run of this process and the lineage run are one: each says which the other is.

Where a W&B run is live, a thread of ``nemotron.lineage`` delivers to it what the lineage run
records. Training threads only wait for it at a normal end, and for a bounded time.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from nemotron.lineage import LineageError, LiveMirror, Recorder

from . import session
from .patches.engine import Patcher
from .patches.patch import Call, Patch

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Mirroring"]

_log = logging.getLogger(__name__)

_WANDB = "wandb"


class Mirroring:
    """Links the W&B runs of this process to its lineage runs, and has them delivered."""

    def __init__(self) -> None:
        self._patcher = Patcher()
        self._live: LiveMirror | None = None
        self._linked: set[tuple[str, str]] = set()
        self._warned = self._registered = False
        self._pid = os.getpid()

    @property
    def is_mine(self) -> bool:
        """Whether this is the process that it was made in; a forked child tells W&B nothing."""
        return self._pid == os.getpid()

    def watch(self) -> None:
        """Link the W&B run that is active, and those that this process starts later."""
        self._patcher.apply(_started(self))
        self.attach(_active())

    def begin(self, run: Any, name: str, *, job_type: str | None) -> None:
        """Open or join the lineage run of this process, and link a W&B run to it.

        Args:
            run: the W&B run, which may be none of W&B's (a disabled one).
            name: of the lineage run, where it is to be opened.
            job_type: what kind of work it is.
        """
        try:
            if session.run_facts() is None:
                if session.is_first_rank():
                    session.start_run(name, job_type=job_type, id=session.next_id(name))
                else:
                    session.reserve(name)
        except (LineageError, OSError) as error:
            _log.warning("W&B has a run, and the lineage store has none: %s", error)
        self.attach(run)

    def attach(self, run: Any) -> None:
        """Link a W&B run to the lineage run of this process, and deliver to it from now on."""
        facts = session.run_facts()
        if facts is None or run is None or not self.is_mine or _is_disabled(run):
            return
        is_new = self._live is None or not self._live.is_for(run)
        if is_new:
            self.close()
            self._live = LiveMirror(run, store=session.address())
        assert self._live is not None  # just made
        link = self._live.link
        if (facts[0], link["id"]) in self._linked:
            return
        self._linked.add((facts[0], link["id"]))
        offline = bool(getattr(run, "offline", False))
        self._record(facts, {**link, "offline": True} if offline else link)
        run.config.update({"lineage_run": f"run:{facts[0]}"}, allow_val_change=True)
        if offline:
            self._say("W&B is offline, so nothing is delivered; later: lineage sync")
            return
        self._patcher.apply(_finishing(self))
        self._live.join(facts[0])
        if not self._registered:
            self._registered = True
            atexit.register(session.end_at_exit)  # before the SDK's own, which ends the W&B run

    def run_began(self) -> None:
        """Link the lineage run that was just opened."""
        self.watch()
        facts = session.run_facts()
        config = session.get_config() if session.is_initialized() else None
        if _active() is None and config is not None and config.backend == _WANDB and facts:
            # no W&B run is live here: `lineage sync` makes one with the same id
            link = {
                "id": facts[0], "entity": config.wandb_entity, "project": config.wandb_project,
                "made": True, "offline": True,
            }  # fmt: skip
            self._record(facts, {key: value for key, value in link.items() if value is not None})
            self._say(f"W&B project {config.wandb_project} is told by: lineage sync")

    def run_ended(self) -> None:
        """Have what the run recorded delivered, for a bounded time."""
        if self._live is not None and self.is_mine:
            self._tell(self._live.drain())

    def finishing(self, run: Any) -> None:
        """Deliver what is left to a W&B run that is about to end."""
        if self._live is not None and self._live.is_for(run):
            self.close()

    def close(self) -> None:
        """Deliver what is left for a bounded time, and let go of the W&B run."""
        live, self._live = self._live, None
        if live is not None and self.is_mine:
            self._tell(live.close())

    def unwatch(self) -> None:
        """Take the patches back."""
        self._patcher.close()

    def _record(self, facts: tuple[str, str], link: Mapping[str, Any]) -> None:
        """Record which W&B run the lineage run is: one durable append."""
        try:
            run = session.current_run()
            if run is not None and run.id == facts[0]:
                run.record_name(_WANDB, link)
                return
            recorder = Recorder(facts[1], run=facts[0], store=session.address())
            try:
                recorder.record_name(_WANDB, link)
            finally:
                recorder.close()
        except (LineageError, OSError) as error:
            _log.warning("which W&B run this is could not be recorded: %s", error)

    def _tell(self, left: int) -> None:
        if left:
            count = "1 record is" if left == 1 else f"{left} records are"
            self._say(f"{count} not in W&B yet; deliver them with: lineage sync")

    def _say(self, sentence: str) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("%s", sentence)


def _active() -> Any:
    """Return the active W&B run; where wandb was never imported there is none."""
    return getattr(sys.modules.get(_WANDB), "run", None)


def _is_disabled(run: Any) -> bool:
    return bool(getattr(run, "disabled", False))


def _started(mirroring: Mirroring) -> Patch:
    def after(_: Call, __: object, run: Any) -> None:
        mirroring.attach(run)

    return Patch(
        name="wandb-run", package=_WANDB, distribution=_WANDB, install="pip install wandb",
        versions=">=0.20", target="wandb:init", parameters=(), after=after, is_optional=True,
        why="the W&B run and the lineage run are one",
        upstream="https://docs.wandb.ai/ref/python/init", remove_when="never: it is asked for",
    )  # fmt: skip


def _finishing(mirroring: Mirroring) -> Patch:
    def before(call: Call) -> None:
        mirroring.finishing(call["self"])

    return Patch(
        name="wandb-finish", package=_WANDB, distribution=_WANDB, install="pip install wandb",
        versions=">=0.20", target="wandb.sdk.wandb_run:Run._finish",
        otherwise=("wandb.sdk.wandb_run:Run.finish",), parameters=("self",), before=before,
        is_optional=True,
        why="what was recorded is delivered while the W&B run is live",
        upstream="https://docs.wandb.ai/ref/python/run", remove_when="never: it is asked for",
    )  # fmt: skip
