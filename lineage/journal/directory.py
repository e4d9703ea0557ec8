"""A journal in a folder of readable JSON files, for any POSIX filesystem, shared or not.

::

    <root>/journal.json                     id and format
    <root>/commits/000000/000000001.json    256 commits a folder
    <root>/intake/<writer>.jsonl

The commit point is ``link(2)``: it fails when the name is there, and so decides who wrote commit
n. Nothing waits for a lock of another host. A writer that finds itself in a crowd puts its record
into its intake first; whoever commits next takes all that is pending, and the others find theirs
done. Writers of one host queue at a local gate, only to save each other's work.
"""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..clock import Clock, new_id
from ..commits import Commit, Head
from ..errors import (
    StoreDamaged,
    StoreNotFoundError,
    StoreTooNew,
    StoreUnsuitable,
)
from ..files import Files, explain
from ..filesystems import cache_folder
from ..intake import FolderIntakes
from ..metadata import canonical_json
from .base import HeadMoved, absent
from .shared import SharedJournal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["DirectoryJournal"]

FORMAT = 1
BUCKET = 256  # commits a folder: listing stays cheap, and so does a folder's fsync
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_LEFTOVER = 3600.0  # seconds after which a temporary file has no writer any more


class DirectoryJournal(SharedJournal):
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
        self._commits = os.path.join(self._root, "commits")
        self.id = self._open(create=create)
        self.read_only = not os.access(self._commits, os.W_OK)
        self.cache = cache_folder(self._root, self.id) if cache == "" else cache
        intake = os.path.join(self._root, "intake")
        self.intakes = FolderIntakes(intake, self._files, clock)
        self._begin_sharing()

    # -------------------------------------------------------------- life cycle

    def _open(self, *, create: bool) -> str:
        path = os.path.join(self._root, "journal.json")
        try:
            data = self._files.read(path)
        except (FileNotFoundError, NotADirectoryError):
            if not create:
                raise StoreNotFoundError(
                    f"there is no store at {self._root}; check the path"
                ) from None
            data = self._create(path)
        except OSError as error:
            raise explain(error, self._root) from error
        try:
            identity = json.loads(data)
            known = identity["format"] == FORMAT
            journal = str(identity["id"])
        except (ValueError, TypeError, KeyError):
            raise StoreDamaged(f"{path} is damaged; restore it from a copy") from None
        if not known:
            raise StoreTooNew(
                f"{self._root} has journal format {identity['format']}; this release reads format "
                f"{FORMAT}. Upgrade nemotron-lineage"
            )
        return journal

    def _create(self, path: str) -> bytes:
        if set(self._files.names(self._root)) - {"commits", "intake", "cache", "pins"}:
            raise StoreUnsuitable(
                f"{self._root} holds other files; name an empty or a new folder for the store"
            )
        identity = canonical_json({"format": FORMAT, "id": new_id(), "kind": "directory"})
        try:
            self._files.make_folder(self._commits)
            self._files.make_folder(os.path.join(self._root, "intake"))
            with suppress(FileExistsError):  # another process was first: its id counts
                self._files.put_new(path, identity.encode() + b"\n")
            return self._files.read(path)
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise StoreUnsuitable(
                    f"{self._root} is on a filesystem without hard links ({error.strerror}), "
                    "which the journal needs; use another filesystem"
                ) from error
            raise explain(error, self._root) from error

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
        buckets = sorted((int(name) for name in self._files.names(self._commits)), reverse=True)
        for bucket in buckets:  # the last one may be empty: its first commit is being written
            if self._files.names(self._bucket(bucket)):
                return bucket
        return 0

    def texts(self, after: int, upto: int) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of commits."""
        for start in range(after + 1, upto + 1, BUCKET):
            numbers = range(start, min(start + BUCKET, upto + 1))
            found = self._files.read_many([(self._path(number), 0) for number in numbers])
            for number, data in zip(numbers, found, strict=True):
                if data is None:
                    raise absent(number)
                yield number, data.decode("ascii", "replace").rstrip("\n")

    def _bucket(self, bucket: int) -> str:
        return os.path.join(self._commits, f"{bucket:06d}")

    def _path(self, number: int) -> str:
        return os.path.join(self._bucket(number // BUCKET), f"{number:09d}.json")

    # ----------------------------------------------------------------- writing

    def _write(self, commit: Commit, *, looked: bool) -> None:
        del looked  # every turn lists the intake
        try:
            self._put(commit)
        except FileExistsError:
            raise HeadMoved(f"somebody else wrote commit {commit.number}") from None
        except OSError as error:
            raise explain(error, self._root) from error

    def _put(self, commit: Commit) -> None:
        folder = self._bucket(commit.number // BUCKET)
        if commit.number % BUCKET == 0 or commit.number == 1:
            self._files.make_folder(folder)
            if commit.number > 1:
                # the one before may still be on its way to the disk in the hands of its writer
                self._files.sync_folder(self._bucket(commit.number // BUCKET - 1))
            self._sweep(folder)
        self._files.put_new(self._path(commit.number), commit.text.encode("ascii") + b"\n")

    def _sweep(self, folder: str) -> None:
        """Remove what killed writers left behind; nobody ever reads it."""
        with suppress(OSError), os.scandir(os.path.dirname(folder)) as buckets:
            for bucket in buckets:
                for entry in os.scandir(bucket.path):
                    if entry.name.startswith(".new-"):
                        with suppress(OSError):
                            if time.time() - entry.stat().st_mtime > _LEFTOVER:
                                os.unlink(entry.path)

    def blank(self, number: int, event: str, kept: Mapping[str, Any]) -> None:
        """Blank one payload of a commit, on the disk too."""
        path = self._path(number)
        ((_, text),) = self.texts(number - 1, number)
        blanked = Commit.read(text, number=number).blank(event, kept)
        self._files.put_over(path, blanked.text.encode("ascii") + b"\n")
        self.intakes.blank(event)


def _number(name: str) -> int:
    return int(name.removesuffix(".json"))
