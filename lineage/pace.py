"""How much of the machine reading may take: bytes a second, cores, priority."""

from __future__ import annotations

import os
import platform
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pace", "free_cores", "yield_to_others"]

_MOST = 8  # threads; more of them only meet at the disk or the memory
_NICE = 19
# ioprio_set(2): its number by machine, "this thread", the class that takes what nobody else wants
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "ppc64le": 273, "riscv64": 30, "s390x": 282}
_PROCESS, _THIS = 1, 0
_IDLE = 3 << 13


class Pace:
    """Tells how far a reading is, and holds it back to a rate that all its threads share.

    Args:
        total: bytes there are to read.
        rate: bytes a second at the most, or None.
        progress: called with (bytes done, bytes in all), by one thread at a time.
    """

    def __init__(
        self,
        total: int,
        *,
        rate: float | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        self._total, self._rate, self._progress = total, rate, progress
        self._lock = threading.Lock()
        self._done = 0
        self._due = time.monotonic()  # when the next byte may be read
        self._stopped = False

    def block(self, best: int) -> int:
        """Return how many bytes to read at a time: a tenth of a second's, where that is less."""
        return best if self._rate is None else max(1, min(best, int(self._rate / 10)))

    def spend(self, count: int) -> None:
        """Note that bytes were read, and wait for as long as the rate asks.

        Raises:
            CancelledError: after ``stop``.
        """
        self.skip(count)
        if self._rate is not None:
            with self._lock:
                now = time.monotonic()
                self._due = max(self._due, now) + count / self._rate
                wait = self._due - now
            time.sleep(wait)

    def skip(self, count: int) -> None:
        """Note that bytes need not be read, or were."""
        if self._stopped:
            from concurrent.futures import CancelledError  # rarely needed

            raise CancelledError
        with self._lock:
            self._done += count
            if self._progress is not None:
                self._progress(self._done, self._total)

    def stop(self) -> None:
        """Have every thread that reads end at its next block."""
        self._stopped = True


def free_cores() -> int:
    """Return how many threads may read now: one for each core that is idle, one at least."""
    cores = min(_MOST, len(os.sched_getaffinity(0)))
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            running = int(file.read().split()[3].partition("/")[0])
    except OSError:
        return cores
    return max(1, min(cores, (os.cpu_count() or 1) - running + 1))  # one that runs is this thread


def yield_to_others() -> None:
    """Have this thread, and those it starts, take only the time of core and disk that is left.

    Meant for a process of its own: it cannot be taken back. A system that knows no such priority
    is left as it is.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, _THIS, _NICE)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        import ctypes  # only here

        ctypes.CDLL(None).syscall(number, _PROCESS, _THIS, _IDLE)
