"""A disk or a bucket that is slow, full, shows what was before, or does not say what it did."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from ..errors import StoreUnreachable
from ..files import Files
from ..journal.bucket import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["Faults", "FaultyBucket", "FaultyFiles"]

Listing = TypeVar("Listing")


class Faults:
    """What goes wrong before and after the operations of a place.

    Operations are named as their methods: ``put_new``, ``put_over``, ``read``, ``names``, and for
    files also ``append``, ``open_append``, ``make_folder``, ``sizes``, ``_link``, ``_replace``,
    ``_unlink``.

    Args:
        delay: seconds that every operation takes longer.

    Attributes:
        counts: how often each operation was called.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self._delay = delay
        self._faults: dict[str, tuple[int, int]] = {}
        self._lost: dict[str, int] = {}
        self._old: dict[str, object] | None = None
        self.counts: Counter[str] = Counter()

    def fail(self, operation: str, code: int = errno.ENOSPC, *, times: int = 1) -> None:
        """Make the next calls of an operation fail without doing anything."""
        self._faults[operation] = (code, times)

    def lose_reply(self, operation: str, code: int = errno.EIO) -> None:
        """Make the next call of an operation do its work and then fail."""
        self._lost[operation] = code

    def show_old(self, *, old: bool = True) -> None:
        """Have listings show what they show from now on, until called with ``old=False``."""
        self._old = {} if old else None

    def _error(self, code: int) -> Exception:
        return OSError(code, os.strerror(code))

    def _before(self, operation: str) -> None:
        self.counts[operation] += 1
        self._wait()
        code, left = self._faults.get(operation, (0, 0))
        if left:
            self._faults[operation] = (code, left - 1)
            raise self._error(code)

    def _wait(self) -> None:
        if self._delay:
            time.sleep(self._delay)

    def _after(self, operation: str) -> None:
        code = self._lost.pop(operation, 0)
        if code:
            raise self._error(code)

    def _listed(self, key: str, list_: Callable[[], Listing]) -> Listing:
        if self._old is None:
            return list_()
        if key not in self._old:
            self._old[key] = list_()
        return self._old[key]  # type: ignore[return-value]  # what the same call gave before


class FaultyFiles(Faults, Files):
    """The real disk with faults in front of it.

    Args:
        delay: seconds that every operation takes longer.
    """

    def __init__(self, delay: float = 0.0) -> None:
        Files.__init__(self)
        Faults.__init__(self, delay)

    def names(self, folder: str) -> list[str]:
        """List a folder."""
        self._before("names")
        return self._listed(f"names {folder}", lambda: super(FaultyFiles, self).names(folder))

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Map files to sizes."""
        self._before("sizes")
        return self._listed(f"sizes {folder}", lambda: super(FaultyFiles, self).sizes(folder))

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
        self._before("_link")
        super()._link(path, name)
        self._after("_link")

    def _replace(self, path: str, name: str) -> None:
        self._before("_replace")
        super()._replace(path, name)
        self._after("_replace")

    def _unlink(self, path: str) -> None:
        self._before("_unlink")
        super()._unlink(path)
        self._after("_unlink")


class FaultyBucket(Faults, Bucket):
    """A bucket with faults in front of it; all of them come as "nothing answers".

    Args:
        address: of the store.
        environ: for credentials and endpoints.
        delay: seconds that every request takes longer.
    """

    def __init__(
        self, address: str, environ: Mapping[str, str] | None = None, *, delay: float = 0.0
    ) -> None:
        Bucket.__init__(self, address, environ)
        Faults.__init__(self, delay)

    def _error(self, code: int) -> Exception:
        return StoreUnreachable(f"the bucket does not answer: {os.strerror(code)}")

    def between(self, after: str, until: str, folder: str | None = None) -> list[str]:
        """List names."""
        self._before("names")
        return self._listed(
            f"{folder} {until}", lambda: super(FaultyBucket, self).between(after, until, folder)
        )

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Read an object."""
        self._before("read")
        return super().read(name, offset, size)

    def read_many(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """Read objects; their waits overlap."""
        if names:
            self._before("read")
        return super().read_many(names)

    def put_new(self, name: str, data: bytes) -> None:
        """Create an object."""
        self._before("put_new")
        super().put_new(name, data)
        self._after("put_new")

    def put_over(self, name: str, data: bytes) -> None:
        """Replace an object."""
        self._before("put_over")
        super().put_over(name, data)
        self._after("put_over")

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects."""
        self._before("remove")
        super().remove(names)
