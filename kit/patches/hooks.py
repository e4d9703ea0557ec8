"""What observers write with: one thread of ours, for which training waits a second at the most.

A hook describes what it saw as an act on a ``Recorder`` and hands it over; the thread looks at the
disk and appends. When the disk hangs, training goes on after the budget and the act is done
later. A record that cannot be written is told once, kept, and tried again with the next act.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from nemotron.lineage import LineageError, Recorder, start_sealing

from ..containers import outside
from .turns import ShortTurns

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Hooks"]

_log = logging.getLogger(__name__)

BUDGET = 1.0  # seconds that training waits for an act
DRAIN = 10.0  # seconds that a normal end waits for all of them
_TURNS = ShortTurns()
_State = TypeVar("_State")


class _Act(NamedTuple):
    """Something to do with the recorder of a folder, and what to release when it is done."""

    folder: str | None
    do: Callable[[Recorder], object]
    done: threading.Lock | None = None


class _Later(NamedTuple):
    """An act that is due at a time, in the order in which they were asked for."""

    due: float
    order: int
    act: _Act


class Hooks:
    """The writing half of the hooks of one run, in one process.

    Args:
        name: of the run.
        run: its id.
        store: the store's address; None means the default one.
        job_type: what kind of work it is.
        artifact_name: what all checkpoints are to be called; None derives it from their folder.
        is_named: whether the user gave the run its name; else it is the script's.
        seals: whether checkpoints are sealed in the background.
        has_settings: whether the run began with its settings.
        budget: seconds that training waits for an act.
    """

    def __init__(
        self,
        name: str,
        *,
        run: str,
        store: str | None = None,
        job_type: str | None = None,
        artifact_name: str | None = None,
        is_named: bool = True,
        seals: bool = False,
        has_settings: bool = False,
        budget: float = BUDGET,
    ) -> None:
        self.name, self.run, self.store, self.is_named = name, run, store, is_named
        self.artifact_name = artifact_name
        self.failures = 0
        self.seals, self.has_settings = seals, has_settings
        self._job_type, self._budget = job_type, budget
        self._pid = os.getpid()
        self._queue: SimpleQueue[_Act | _Later | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._recorders: dict[str | None, Recorder] = {}
        self._states: dict[type, Any] = {}
        self._later: list[_Later] = []
        self._order = itertools.count()
        self._late: threading.Lock | None = None  # of the act that took longer than the budget
        self._told: set[str] = set()
        self._is_open = True

    @property
    def is_mine(self) -> bool:
        """Whether this is the process that the run belongs to; a forked child records nothing."""
        return self._is_open and self._pid == os.getpid()

    def state(self, kind: type[_State]) -> _State:
        """Return what a framework's observers remember of this run."""
        with self._lock:
            if kind not in self._states:
                self._states[kind] = kind()
            found: _State = self._states[kind]
            return found

    def write(self, folder: str | None, do: Callable[[Recorder], object]) -> None:
        """Have something recorded beside a folder, and wait for it within the budget.

        Args:
            folder: of the checkpoints; None for the store's own intake.
            do: called with the recorder, on our thread.
        """
        if not self.is_mine:
            return
        done = threading.Lock()
        done.acquire()
        self._put(_Act(folder, do, done))
        late = self._late
        if late is not None and late.locked():
            return  # an earlier act hangs: this one waits behind it, training does not
        with _TURNS:
            is_done = done.acquire(timeout=self._budget)
        if not is_done:
            self._late = done
            _log.warning(
                "recording in %s takes longer than %g s; training goes on, and what was seen is "
                "recorded when the disk answers", folder or "the store", self._budget,
            )  # fmt: skip

    def saved(self, folder: str) -> None:
        """Have a checkpoint that was recorded sealed, if that is wanted; nobody waits for it."""
        if self.seals:
            self.later(folder, self._seal, 0)

    def later(self, folder: str, do: Callable[[Recorder], object], seconds: float) -> None:
        """Have something done in a while, at the end of the run at the latest."""
        if self.is_mine:
            self._put(_Later(time.monotonic() + seconds, next(self._order), _Act(folder, do)))

    def close(self, timeout: float = DRAIN) -> None:
        """Do what is left, for a bounded time, and say what could not be recorded."""
        if not self.is_mine:
            return
        with self._lock:
            self._is_open, thread = False, self._thread
            self._queue.put(None)
        if thread is None:
            return
        thread.join(timeout)
        waiting = sum(recorder.waiting for recorder in self._recorders.values())
        if thread.is_alive() or waiting:
            left = f"{waiting} records" if waiting else "what was seen last"
            _log.warning("%s could not be written; see the warning above for why", left)
        if not thread.is_alive():
            for recorder in self._recorders.values():
                recorder.close()

    def _seal(self, _: Recorder) -> None:
        try:
            start_sealing(self.store)
        except (LineageError, OSError) as error:
            self.seals = False
            _log.warning("checkpoints are not sealed: %s. Try later: lineage seal", error)

    def _put(self, act: _Act | _Later) -> None:
        with self._lock:
            if not self._is_open:  # another thread closed it: nobody would do this
                if isinstance(act, _Act) and act.done is not None:
                    act.done.release()
                return
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="lineage", daemon=True)
                thread.start()  # the system may have no more of them
                self._thread = thread
            self._queue.put(act)

    def _work(self) -> None:
        while True:
            try:
                wait = max(0.0, self._later[0].due - time.monotonic()) if self._later else None
                act = self._queue.get(timeout=wait)
            except Empty:
                self._do(heapq.heappop(self._later).act)
                continue
            if act is None:
                break
            if isinstance(act, _Later):
                heapq.heappush(self._later, act)
            else:
                self._do(act)
        while self._later:
            self._do(heapq.heappop(self._later).act)
        for folder in tuple(self._recorders):
            self._do(_Act(folder, self._flush))

    def _flush(self, recorder: Recorder) -> None:
        try:
            recorder.flush()
        except (LineageError, OSError) as error:
            self._tell_waits(error)

    def _do(self, act: _Act) -> None:
        try:
            act.do(self._recorder(act.folder))
        except (LineageError, OSError) as error:
            self._tell("a checkpoint could not be recorded: %s; training goes on", error)
        except Exception:  # noqa: BLE001 - a fault of ours must not end the thread
            self.failures += 1
            _log.exception("recording in %s failed; training goes on", act.folder or "the store")
        finally:
            if act.done is not None:
                act.done.release()

    def _tell_waits(self, error: Exception) -> None:
        self._tell(
            "a record cannot be written: %s; training goes on, and it is tried again with the next "
            "one", error,
        )  # fmt: skip

    def _tell(self, said: str, error: Exception) -> None:
        """Count a fault, and warn of the first of its kind."""
        self.failures += 1
        _log.log(logging.DEBUG if said in self._told else logging.WARNING, said, error)
        self._told.add(said)

    def _recorder(self, folder: str | None) -> Recorder:
        recorder = self._recorders.get(folder)
        if recorder is None:
            # nothing is appended to an object store
            beside = None if folder is None or "://" in folder else folder
            recorder = self._recorders[folder] = Recorder(
                self.name, run=self.run, beside=beside, store=self.store, outside=outside,
                job_type=self._job_type, on_fault=self._tell_waits,
            )  # fmt: skip
        return recorder
