"""Named contents in one place, each whole or not there: files of a folder, objects, rows."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from .files import Files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["FolderShelf", "Shelf"]


class Shelf(ABC):
    """What journals, snapshots and pins lie on. Names are relative, with ``/`` between folders.

    Promises: what ``put_new`` and ``put_over`` acknowledged survives ``kill -9`` and power loss; a
    reader sees the whole content or none; of two that ``put_new`` one name, one is told so. No two
    contents that are put under new names are alike, so that a lost reply can be found out.
    """

    @abstractmethod
    def where(self, name: str) -> str:
        """Say where a name lies, for people."""

    @abstractmethod
    def names(self, folder: str, *, after: str = "", whole: bool = True) -> list[str]:
        """List the names in a folder, sorted; those behind ``after``. No folder is an empty one.

        Args:
            folder: where.
            after: names behind this one.
            whole: leave out those that somebody died over, where they have names already.
        """

    @abstractmethod
    def ages(self, folder: str) -> Mapping[str, float]:
        """Map the names in a folder to the seconds since they were put there."""

    @abstractmethod
    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Read ``size`` bytes from an offset on, by default all.

        Raises:
            FileNotFoundError: there is nothing of that name.
        """

    @abstractmethod
    def read_many(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """Yield contents, None for those that are not there. Waits overlap."""

    @abstractmethod
    def put_new(self, name: str, data: bytes) -> None:
        """Put a content under a new name.

        Raises:
            FileExistsError: somebody else did before.
            StoreUnreachable, OSError: it may be there or not.
        """

    @abstractmethod
    def put_over(self, name: str, data: bytes) -> None:
        """Put a content under a name, in place of what may be there."""

    @abstractmethod
    def remove(self, names: Iterable[str]) -> None:
        """Remove contents; those that are not there are no fault."""

    @abstractmethod
    def send(self, path: str, name: str) -> None:
        """Put the content of a local file under a name, in place of what may be there."""

    @abstractmethod
    def fetch(self, name: str, path: str) -> None:
        """Copy a content to a local file.

        Raises:
            FileNotFoundError: there is nothing of that name.
        """


class FolderShelf(Shelf):
    """Files of one folder.

    Args:
        root: the folder; it and those below are made when something is put there.
        files: what stands between this and the disk.
    """

    def __init__(self, root: str, files: Files | None = None) -> None:
        self._root, self._files = root, files or Files()

    def path(self, name: str) -> str:
        """Return the path of a name."""
        return os.path.join(self._root, name)

    def where(self, name: str) -> str:
        """Say where a name lies."""
        return self.path(name)

    def names(self, folder: str, *, after: str = "", whole: bool = True) -> list[str]:
        """List the names in a folder."""
        del whole  # what is not whole has no name
        return sorted(name for name in self._files.names(self.path(folder)) if name > after)

    def ages(self, folder: str) -> Mapping[str, float]:
        """Map the names of files to their ages, by the clock of the filesystem."""
        return self._files.ages(self.path(folder))

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Read a file."""
        return self._files.read(self.path(name), offset, size)

    def read_many(self, names: Sequence[str]) -> Iterator[bytes | None]:
        """Yield the contents of files."""
        return self._files.read_many([(self.path(name), 0) for name in names])

    def put_new(self, name: str, data: bytes) -> None:
        """Create a file."""
        try:
            self._files.put_new(self.path(name), data)
        except FileNotFoundError:  # there is no such folder yet
            self._files.put_new(self._place(name), data)

    def put_over(self, name: str, data: bytes) -> None:
        """Create or replace a file."""
        try:
            self._files.put_over(self.path(name), data)
        except FileNotFoundError:
            self._files.put_over(self._place(name), data)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        for name in names:
            self._files.remove(self.path(name))

    def send(self, path: str, name: str) -> None:
        """Copy a file to here. What was left of earlier ones may be large, and goes first."""
        place = self._place(name)
        self._files.sweep(os.path.dirname(place))
        self._files.copy(path, place)

    def fetch(self, name: str, path: str) -> None:
        """Copy a file from here."""
        self._files.copy(self.path(name), path)

    def _place(self, name: str) -> str:
        path = self.path(name)
        self._files.make_folder(os.path.dirname(path))
        return path
