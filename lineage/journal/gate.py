"""A door that one thread of one process on this host passes at a time, with a deadline.

SQLite's own waiting is unfair: with 32 writers some wait for seconds (benchmarks/contention.py).
So writers queue at ``flock`` on a file of its own, which is never unlinked. The kernel opens it
when its holder dies. ``flock`` has no deadline: who cannot pass at once waits in a helper thread,
and gives up when a stopped holder keeps the door shut.

Forks: a child inherits the descriptor and with it the lock. It must never unlock (that would open
the parent's door) and must not keep it (the parent's death would not open it): it closes its copy.
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from ..errors import StoreBusy

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Gate"]


class Gate:
    """One door, named by a file; made on first use and never removed.

    Args:
        path: the lock file. It must lie on a local filesystem.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._reset()
        _watch_forks(self)

    def _reset(self) -> None:
        self._thread_lock = threading.Lock()
        self._opening = threading.Lock()  # no fork between opening a descriptor and noting it
        self._descriptor: int | None = None
        self._waiter: _Waiter | None = None

    @contextmanager
    def passing(self, timeout: float) -> Iterator[None]:
        """Hold the door for the block.

        Args:
            timeout: seconds to wait at the most.

        Raises:
            StoreBusy: it did not open in time.
        """
        deadline = monotonic() + timeout
        lock = self._thread_lock  # a fork inside the block would put another one in its place
        if not lock.acquire(timeout=timeout):
            raise StoreBusy(f"{self._path} was held by another thread for {timeout:g} s; try again")
        try:
            self._enter(deadline, timeout)
            try:
                yield
            finally:
                self._leave()
        finally:
            lock.release()

    def close(self) -> None:
        """Give the descriptor back; the gate may be used again."""
        with self._thread_lock:
            if self._waiter is None and self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _enter(self, deadline: float, timeout: float) -> None:
        waiter = self._waiter
        if waiter is None or not waiter.adopt():
            if self._descriptor is None:
                with self._opening:
                    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                    self._descriptor = os.open(self._path, flags, 0o666)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiter = _Waiter(self._descriptor)
            else:
                self._waiter = None
                return
        if waiter.passes(max(0.0, deadline - monotonic())):
            self._waiter = None
            return
        self._waiter = waiter
        raise StoreBusy(
            f"{self._path} is held by another process for over {timeout:g} s; "
            f"see who holds it with: fuser -v {self._path}"
        )

    def _leave(self) -> None:
        if self._descriptor is not None:  # None: this is a child that was forked inside the block
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _forget(self) -> None:
        """In a forked child: close the copy, never unlock, and start afresh."""
        descriptor = self._descriptor
        self._reset()
        if descriptor is not None:
            os.close(descriptor)


class _Waiter:
    """A thread that blocks in ``flock`` on behalf of a caller, who may give up before it passes.

    ``flock`` cannot be called off. So the thread waits on; when it passes and nobody wants it any
    more it unlocks at once, and a later caller may adopt it while it still waits.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._wanted = True
        self._passed = False
        self._over = False
        threading.Thread(target=self._wait, name="lineage-gate", daemon=True).start()

    def adopt(self) -> bool:
        """Want it again; False when it passed unwanted in the meantime."""
        with self._changed:
            self._wanted = not self._over
            return self._wanted

    def passes(self, timeout: float) -> bool:
        """Wait until the lock is held; False means that the time ran out and it was given up."""
        with self._changed:
            self._changed.wait_for(lambda: self._passed, timeout)
            self._wanted = self._passed
            return self._passed

    def _wait(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._changed:
            if self._wanted:
                self._passed = True
                self._changed.notify_all()
            else:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._over = True


def _watch_forks(gate: Gate) -> None:
    """Have a gate forget its descriptor in every forked child, for as long as it lives."""
    reference = weakref.ref(gate)

    def before() -> None:
        if (gate := reference()) is not None:
            gate._opening.acquire()

    def after_in_parent() -> None:
        if (gate := reference()) is not None and gate._opening.locked():
            gate._opening.release()

    def after_in_child() -> None:
        if (gate := reference()) is not None:
            gate._forget()

    os.register_at_fork(
        before=before, after_in_parent=after_in_parent, after_in_child=after_in_child
    )
