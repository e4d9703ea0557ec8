"""A journal in a folder of readable JSON files, for any POSIX filesystem, shared or not.

::

    <root>/commits/000000/000000001.json    256 commits a folder
    <root>/intake/<writer>.jsonl

The commit point is ``link(2)``: it fails when the name is there, and so decides who wrote commit
n. Nothing waits for a lock of another host. A writer that finds itself in a crowd puts its record
into its intake first; whoever commits next takes all that is pending, and the others find theirs
done.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..commits import Head
from ..errors import StoreUnsuitable
from ..files import Files, explain
from ..filesystems import cache_folder
from ..intake import FolderIntakes
from ..shelf import FolderShelf
from .numbered import NumberedJournal

if TYPE_CHECKING:
    from ..clock import Clock
    from ..commits import Commit

__all__ = ["DirectoryJournal"]

BUCKET = 256  # commits a folder: listing stays cheap, and so does a folder's fsync
_OURS = {"cache", "commits", "intake", "names", "packs", "pins", "snapshots"}
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_LEFTOVER = 3600.0  # seconds after which a temporary file has no writer any more


class DirectoryJournal(NumberedJournal):
    """Opens or creates the journal in the folder ``root``.

    Args:
        root: the folder.
        create: make it when it is not there.
        cache: local folder for the ledger and the index, by default one that fits; None keeps
            them in memory.
        files: what stands between this and the disk.
        clock: for records of the intake.

    Raises:
        StoreNotFoundError: not there, and not to be created.
        StoreUnsuitable: a folder with other things in it, or a filesystem without hard links.
    """

    kind = "directory"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        create: bool = True,
        cache: str | None = "",
        files: Files | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._root = os.path.abspath(root)
        self.address = f"file://{self._root}"
        self._files = files or Files()
        self.shelf = self._folder = FolderShelf(self._root, self._files)
        try:
            self.id = self._open(create=create)
        except OSError as error:
            raise explain(error, self._root) from error
        self.read_only = not os.access(self._folder.path("commits"), os.W_OK)
        self.cache = cache_folder(self._root, self.id) if cache == "" else cache
        self.intakes = FolderIntakes(self._folder.path("intake"), self._files, clock)
        self._begin_sharing()

    def _prepare(self) -> dict[str, Any]:
        if set(self._files.names(self._root)) - _OURS:
            raise StoreUnsuitable(
                f"{self._root} holds other files; name an empty or a new folder for the store"
            )
        try:
            for name in ("commits", "intake"):
                self._files.make_folder(self._folder.path(name))
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise StoreUnsuitable(
                    f"{self._root} is on a filesystem without hard links ({error.strerror}), "
                    "which the journal needs; use another filesystem"
                ) from error
            raise
        return {}

    # ----------------------------------------------------------------- reading

    def _newest(self, known: int) -> Head:
        return Head(self._last_number(known), "", "")

    def _last_number(self, known: int) -> int:
        """Find the highest number there is, from one that is known to be there."""
        bucket = known // BUCKET if known else self._last_bucket()
        while True:
            numbers = [_number(name) for name in self._files.names(self._bucket(bucket))]
            last = max(numbers, default=known)
            full = last % BUCKET == BUCKET - 1
            if not full or not self._files.names(self._bucket(bucket + 1)):
                return last
            bucket += 1
            known = last

    def _last_bucket(self) -> int:
        buckets = sorted(
            (int(name) for name in self._files.names(self._folder.path("commits"))), reverse=True
        )
        for bucket in buckets:  # the last one may be empty: its first commit is being written
            if self._files.names(self._bucket(bucket)):
                return bucket
        return 0

    def _bucket(self, bucket: int) -> str:
        return self._folder.path(f"commits/{bucket:06d}")

    def _name(self, number: int) -> str:
        return f"commits/{number // BUCKET:06d}/{number:09d}.json"

    # ----------------------------------------------------------------- writing

    def _write(self, commit: Commit, *, looked: bool) -> None:
        try:
            if commit.number % BUCKET == 0 or commit.number == 1:
                self._begin_bucket(commit.number // BUCKET)
            super()._write(commit, looked=looked)
        except OSError as error:
            raise explain(error, self._root) from error

    def _begin_bucket(self, bucket: int) -> None:
        folder = self._bucket(bucket)
        self._files.make_folder(folder)
        if bucket:
            # the one before may still be on its way to the disk in the hands of its writer
            self._files.sync_folder(self._bucket(bucket - 1))
        self._sweep(folder)

    def _sweep(self, folder: str) -> None:
        """Remove what killed writers left behind; nobody ever reads it."""
        with suppress(OSError), os.scandir(os.path.dirname(folder)) as buckets:
            for bucket in buckets:
                for entry in os.scandir(bucket.path):
                    if entry.name.startswith(".new-"):
                        with suppress(OSError):
                            if time.time() - entry.stat().st_mtime > _LEFTOVER:
                                os.unlink(entry.path)


def _number(name: str) -> int:
    return int(name.removesuffix(".json"))
