"""A thread that delivers the runs of this process to the W&B run that is live in it.

The SDK wants a live run in its own process. So this one has a thread, with a store handle and a
memory of its own, that reads what training recorded and delivers it. Training threads never wait
for it, but for a bounded time at a normal end.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

from ..errors import LineageError, MirrorUnready, StoreError
from ..index import queries
from ..journal.kinds import open_shelf
from ..registry import open_store
from ..settings import choose_store
from .chosen import chosen_wandb
from .wandb_live import LiveRun
from .wandb_mirror import WandbMirror
from .worker import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..registry import Lineage

__all__ = ["LiveMirror"]

_log = logging.getLogger(__name__)

INTERVAL = 5.0  # seconds between looks for news
DRAIN = 10.0  # seconds that a normal end waits
_AGAIN = 0.5  # seconds between attempts while somebody waits
_END = 1.0  # seconds for the thread to give its handles back
_UPLOAD = 10.0  # seconds to wait for an upload before the next one is begun


class LiveMirror:
    """Delivers runs of this process to its live W&B run. A forked child delivers nothing.

    Args:
        run: the SDK's run.
        store: the store's address; None as for ``open``.
        environ: the environment, by default that of the process; ``LINEAGE_MIRROR_DRAIN`` is the
            number of seconds that a normal end waits.
        interval: seconds between looks for news.
    """

    def __init__(
        self,
        run: Any,
        *,
        store: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
        interval: float = INTERVAL,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._live = LiveRun(run)
        self._address, self._interval = store, interval
        self._pid = os.getpid()
        self._runs: set[str] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._deadline: float | None = None  # while somebody waits
        self._patience = _seconds(self._environ)
        self._is_closed = self._is_over = False
        self._is_busy = True
        self._passes = 0
        self._warned: set[str] = set()
        self.left = 0  # as the thread last knew
        self._in_vain = 0  # how many of these this process cannot deliver
        self.failures = 0

    @property
    def link(self) -> dict[str, Any]:
        """What the receipt of a run says of the W&B run that it is."""
        live = self._live
        return {
            "name": live.path, "id": live.id, "entity": live.entity or None,
            "project": live.project, "base_url": _without_login(live.base_url), "url": live.url,
        }  # fmt: skip

    def is_for(self, run: Any) -> bool:
        """Tell whether this delivers to a W&B run, in this process."""
        return self._pid == os.getpid() and self._live.handle is run

    def join(self, run: str) -> None:
        """Deliver a run of this process from now on.

        Args:
            run: the id of the lineage run.
        """
        if self._pid != os.getpid():
            return
        with self._changed:
            self._runs.add(run)
            self.left = max(self.left, 1)  # its start, until the thread has looked
            if self._thread is None and not self._is_over:
                self._thread = threading.Thread(
                    target=self._work, name="lineage-mirror", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def drain(self, seconds: float | None = None) -> int:
        """Have everything delivered that can be, for a bounded time, and return what is left.

        All drains of this object together wait for ``LINEAGE_MIRROR_DRAIN`` seconds, by default
        10: a server that is down holds a program once.

        Args:
            seconds: how long to wait instead.
        """
        if self._pid != os.getpid():
            return 0
        with self._changed:
            if self._thread is None or self._is_over:
                return self.left
            if seconds is None:
                seconds = self._patience
            began = time.monotonic()
            self._deadline = began + seconds
            # a pass that is under way may have looked before the last record was there
            wanted = self._passes + 1 + self._is_busy
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._is_over or (self._passes >= wanted and self.left <= self._in_vain),
                seconds,
            )
            self._deadline = None
            self._patience = max(0.0, self._patience - (time.monotonic() - began))
            return self.left

    def close(self, seconds: float | None = None) -> int:
        """Drain, end the thread, and return what is left; for the end of the W&B run."""
        left = self.drain(seconds)
        if self._pid == os.getpid():
            with self._changed:
                self._is_closed = True
                self._changed.notify_all()
                thread = self._thread
            if thread is not None:
                thread.join(_END)
        return left

    # --------------------------------------------------------------------- the thread

    def _work(self) -> None:
        try:
            address = choose_store(self._address, self._environ)[0]
            with open_store(address, environ=self._environ) as store:
                worker = self._worker(store, address)
                try:
                    self._deliver(worker)
                finally:
                    worker.close()
        except (LineageError, OSError) as error:
            self.failures += 1
            _log.warning("nothing is delivered to W&B from here: %s. Later: lineage sync", error)
        except Exception:  # noqa: BLE001 - training goes on
            self.failures += 1
            _log.exception("the thread that delivers to W&B failed; later: lineage sync")
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _worker(self, store: Lineage, address: str) -> Worker:
        mirror = WandbMirror(
            chosen_wandb(self._environ), live=self._live, upload=_UPLOAD,
            leases=store.journal.shelf or open_shelf(address),
        )  # fmt: skip
        with self._changed:
            run = next(iter(self._runs))
        with store.reading() as db:
            after = queries.commit_before_run(db, run)
        return Worker(store, mirror, wants=self._runs.__contains__, after=after)

    def _deliver(self, worker: Worker) -> None:
        while not self._is_closed:
            left, in_vain, pause = self._pass(worker)
            with self._changed:
                self.left, self._passes = left, self._passes + 1
                self._in_vain = in_vain
                self._changed.notify_all()
                self._is_busy = False
                if not self._is_closed:
                    hurried = self._deadline is not None
                    self._changed.wait(_AGAIN if hurried else min(pause, self._interval))
                self._is_busy = True

    def _pass(self, worker: Worker) -> tuple[int, int, float]:
        """Deliver what can be delivered now.

        Returns:
            What is left, how much of it another process has to deliver, the seconds to the next.
        """
        try:
            try:
                worker.work(stop=self._must_stop, patient=self._deadline is None)
            except MirrorUnready as error:
                self._warn("W&B cannot be used", error)
            left = worker.status().left
            in_vain, pause = worker.in_vain, self._interval
            if left:
                pause = max(_AGAIN, worker.next_try())
        except (StoreError, OSError, sqlite3.Error) as error:
            # a server restarts, a share hangs: what is left is counted when it is back
            self._warn("the store cannot be read now", error)
            return max(self.left, 1), 0, self._interval
        return left, in_vain, pause

    def _warn(self, what: str, error: Exception) -> None:
        if what not in self._warned:
            self._warned.add(what)
            _log.warning("%s: %s. Later: lineage sync", what, error)

    def _must_stop(self) -> bool:
        return self._is_closed


def _without_login(url: str | None) -> str | None:
    """Return an address as it may be written down; the login is for whoever delivers to have."""
    return None if url is None else re.sub(r"(?<=://)[^/]*@", "", url)


def _seconds(environ: Mapping[str, str]) -> float:
    try:
        return max(0.0, float(environ.get("LINEAGE_MIRROR_DRAIN", "")))
    except ValueError:
        return DRAIN
