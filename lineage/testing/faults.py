"""A disk that is slow, full, or does not say what it did."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from typing import TYPE_CHECKING

from ..files import Files

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FaultyFiles"]


class FaultyFiles(Files):
    """The real disk with faults in front of it.

    Args:
        delay: seconds that every operation takes longer.

    Attributes:
        counts: how often each operation was called.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self._delay = delay
        self._faults: dict[str, tuple[int, int]] = {}
        self._lost: set[str] = set()
        self.counts: Counter[str] = Counter()

    def fail(self, operation: str, code: int = errno.ENOSPC, *, times: int = 1) -> None:
        """Make the next calls of an operation fail without doing anything."""
        self._faults[operation] = (code, times)

    def lose_reply(self, operation: str) -> None:
        """Make the next call of an operation do its work and then fail."""
        self._lost.add(operation)

    def _before(self, operation: str) -> None:
        self.counts[operation] += 1
        self._wait()
        code, left = self._faults.get(operation, (0, 0))
        if left:
            self._faults[operation] = (code, left - 1)
            raise OSError(code, os.strerror(code))

    def _wait(self) -> None:
        if self._delay:
            time.sleep(self._delay)

    def _after(self, operation: str) -> None:
        if operation in self._lost:
            self._lost.remove(operation)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def names(self, folder: str) -> list[str]:
        """List a folder."""
        self._before("names")
        return super().names(folder)

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Map files to sizes."""
        self._before("sizes")
        return super().sizes(folder)

    def read(self, path: str, offset: int = 0, size: int | None = None) -> bytes:
        """Read a file."""
        self._before("read")
        return super().read(path, offset, size)

    def make_folder(self, folder: str) -> None:
        """Make a folder."""
        self._before("make_folder")
        super().make_folder(folder)

    def open_append(self, path: str) -> int:
        """Create a file for appends."""
        self._before("open_append")
        return super().open_append(path)

    def append(self, descriptor: int, data: bytes) -> None:
        """Append; a full disk takes the first half."""
        try:
            self._before("append")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                os.write(descriptor, data[: len(data) // 2])
            raise
        super().append(descriptor, data)
        self._after("append")

    def put_new(self, path: str, data: bytes) -> None:
        """Create a file."""
        self._before("put_new")
        super().put_new(path, data)
        self._after("put_new")

    def put_over(self, path: str, data: bytes) -> None:
        """Replace a file."""
        self._before("put_over")
        super().put_over(path, data)
        self._after("put_over")

    def sync_folder(self, folder: str) -> None:
        """Make names durable."""
        self._wait()
        super().sync_folder(folder)

    def _link(self, path: str, name: str) -> None:
        self._wait()
        super()._link(path, name)

    def _unlink(self, path: str) -> None:
        self._wait()
        super()._unlink(path)
