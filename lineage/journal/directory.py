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
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..clock import Clock, new_id
from ..commits import Head
from ..errors import StoreError, StoreUnsuitable
from ..files import Files, explain, folder_mode
from ..filesystems import BUCKET, cache_folder, filesystem
from ..intake import FolderIntakes
from ..shelf import FolderShelf
from .numbered import IDENTITY, NumberedJournal, now, numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..commits import Commit
    from .packs import Pack

__all__ = ["DirectoryJournal"]

_FOLDER = 256  # commits a folder: listing stays cheap, and so does a folder's fsync
# another process may be making it too, and be done with it
_OURS = {IDENTITY, "cache", "commits", "intake", "names", "packs", "pins", "snapshots"}
_NO_LINKS = (
    errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EXDEV,
)  # fmt: skip
_BREATH = 0.01  # seconds between folders that are emptied: a writer's sync waits for all of one


class DirectoryJournal(NumberedJournal):
    """Opens or creates the journal in the folder ``root``.

    Args:
        root: the folder.
        create: make it when it is not there.
        adopting: it is to take in the commits of another journal, and closed to others meanwhile.
        mode: for a new one, permissions of all its files, e.g. 0o660; every writer keeps to them.
        group: for a new one, name of the group that all of it belongs to.
        cache: local folder for the ledger and the index, by default one that fits; None keeps
            them in memory.
        files: what stands between this and the disk.
        clock: for records of the intake.

    Raises:
        StoreNotFoundError: not there, and not to be created.
        StoreUnsuitable: a folder with other things in it, a filesystem without hard links, or a
            bucket that is shown as a folder.
    """

    kind = "directory"

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        create: bool = True,
        adopting: bool = False,
        mode: int | None = None,
        group: str | None = None,
        cache: str | None = "",
        files: Files | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._root = os.path.abspath(root)
        self.address = f"file://{quote(self._root)}"
        kind, name = filesystem(self._root)
        if kind == BUCKET:
            raise StoreUnsuitable(
                f"{self._root} is on {name}, a bucket that is shown as a folder: two writers could "
                "both write one commit; name the bucket itself (s3://, gs://, az://)"
            )
        self._files = files or Files()
        self.shelf = self._folder = FolderShelf(self._root, self._files)
        self._mode, self._group = mode, group
        try:
            self.id = self._open(create=create, adopting=adopting)
        except OSError as error:
            raise explain(error, self._root) from error
        if "mode" in self.settings:
            self._files.mode = int(self.settings["mode"], 8)
        self.read_only = not os.access(self._folder.path("commits"), os.W_OK)
        if cache == "":
            # users who share the store by a group have each their own
            shared = None if "mode" in self.settings else self._root
            cache = cache_folder(shared, self.id)
        self.cache = cache
        intake = self._folder.path("intake")
        self.intakes = FolderIntakes(intake, self._files, clock, ours=self.is_ours)
        self._begin_sharing()

    def _prepare(self) -> dict[str, Any]:
        if set(self._files.names(self._root)) - _OURS:
            raise StoreUnsuitable(
                f"{self._root} holds other files; name an empty or a new folder for the store"
            )
        self._files.make_folder(self._root)
        if self._group is not None:
            shutil.chown(self._root, group=self._group)
        if self._mode is not None:
            self._files.mode = self._mode
            os.chmod(self._root, folder_mode(self._mode))
        for name in ("commits", "intake"):
            self._files.make_folder(self._folder.path(name))
        self._probe()
        return {} if self._mode is None else {"mode": f"{self._mode:04o}"}

    def _probe(self) -> None:
        """Try what the journal stands on, where it will stand."""
        name = f"commits/.new-probe-{new_id()}"
        try:
            self.shelf.put_new(name, b"1")
            with suppress(FileExistsError):
                self.shelf.put_new(name, b"2")
                raise StoreUnsuitable(
                    f"{self._root} is on a filesystem that makes one name twice; two writers could "
                    "both write one commit. Use another filesystem"
                )
            self.shelf.put_over(name, b"3")
            if self.shelf.read(name) != b"3":
                raise StoreUnsuitable(
                    f"{self._root} is on a filesystem that does not show what was written; use "
                    "another filesystem"
                )
        except OSError as error:
            if isinstance(error, StoreError) or error.errno not in _NO_LINKS:
                raise
            raise StoreUnsuitable(
                f"{self._root} is on a filesystem without hard links ({error.strerror}), "
                "which the journal needs; use another filesystem"
            ) from error
        finally:
            with suppress(OSError):
                self.shelf.remove([name])

    # ----------------------------------------------------------------- reading

    def _newest(self, known: int) -> Head:
        self._learned = now()
        # what was copied in several goes may lie alone first and in packs behind that
        known = max(known, self._seen) or self._packs.last()
        return Head(max(known, self._last_number(known)), "", "")

    def _last_number(self, known: int) -> int:
        """Find the highest number there is, from one that is known to be there."""
        bucket = known // _FOLDER
        there = self._numbers(bucket)
        if not there:  # a new journal, or it was packed since
            known = max(known, self._packs.last())
            bucket = max(self._last_bucket(), known // _FOLDER)
            there = self._numbers(bucket)
        while True:
            known = max(there, default=known)
            if known % _FOLDER != _FOLDER - 1:
                return known
            bucket += 1
            there = self._numbers(bucket)
            if not there:
                return known

    def _last_bucket(self) -> int:
        # the last one may be empty: its first commit is being written
        return next((each for each in reversed(self._buckets()) if self._numbers(each)), 0)

    def _buckets(self) -> list[int]:
        return sorted(int(name) for name in self.shelf.names("commits") if name.isdigit())

    def _numbers(self, bucket: int) -> list[int]:
        return numbers(self._files.names(self._bucket(bucket)))

    def _bucket(self, bucket: int) -> str:
        return self._folder.path(f"commits/{bucket:06d}")

    def _name(self, number: int) -> str:
        return f"commits/{number // _FOLDER:06d}/{number:09d}.json"

    # ----------------------------------------------------------------- writing

    def _write(self, commit: Commit, *, looked: bool) -> None:
        try:
            if commit.number % _FOLDER == 0 or commit.number == 1:
                self._begin_bucket(commit.number // _FOLDER)
            super()._write(commit, looked=looked)
        except OSError as error:
            raise explain(error, self._root) from error

    def confirm(self, number: int) -> None:
        """Sync the folder of a commit; those before it were synced when it was begun."""
        with suppress(FileNotFoundError):  # all of it is packed
            self._files.sync_folder(self._bucket(number // _FOLDER))

    def _begin_bucket(self, bucket: int) -> None:
        folder = self._bucket(bucket)
        self._files.make_folder(folder)
        if bucket:
            # the one before may still be on its way to the disk in the hands of its writer
            with suppress(FileNotFoundError):  # all of it is packed
                self._files.sync_folder(self._bucket(bucket - 1))
        self._sweep(folder)

    def _unload(self, packs: Sequence[Pack]) -> None:
        upto = max((pack.last for pack in packs), default=0)
        for bucket in self._buckets():
            if bucket * _FOLDER > upto:
                break
            alone = sorted(self._numbers(bucket))
            for pack in packs:
                mine = [number for number in alone if pack.first <= number <= pack.last]
                if mine:
                    self._packs.unload(pack, mine)
                    time.sleep(_BREATH)
            if (bucket + 1) * _FOLDER <= upto + 1:
                with suppress(OSError):  # somebody else did, or something is left
                    os.rmdir(self._bucket(bucket))

    def _sweep(self, folder: str) -> None:
        """Remove what killed writers left behind."""
        with suppress(OSError), os.scandir(os.path.dirname(folder)) as buckets:
            for bucket in buckets:
                self._files.sweep(bucket.path)
