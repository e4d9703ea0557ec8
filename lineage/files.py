"""The few operations on files that journals and intakes stand on, each durable when it returns.

They are methods so that a test can put faults and delays between them and the disk.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from .clock import new_id
from .errors import LineageError, StoreFull, StoreReadOnly, StoreUnsuitable
from .waits import Waits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Files", "explain", "folder_mode"]

_TEMPORARY = ".new-"
_PIECE = 1 << 22  # bytes of a file held in memory while it is copied
_LEFTOVER = 3600.0  # seconds after which a temporary file has no writer any more
_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def explain(error: OSError, what: str) -> LineageError | OSError:
    """Turn a full or read-only disk into an error that says so; leave others as they are."""
    place = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOTDIR:
        return StoreUnsuitable(f"{what} would lie below a file{place}; choose another path")
    if error.errno in _FULL:
        return StoreFull(f"no space left to write {what}{place}; nothing was written, free some")
    if error.errno in _READ_ONLY:
        return StoreReadOnly(f"{what} cannot be written{place}: {error.strerror}; ask its owner")
    return error


class Files:
    """The real disk.

    Attributes:
        mode: permissions of every file that is made, e.g. 0o660, whatever the umask says; those
            who may read a file may also enter its folder. None leaves it to the umask.
    """

    mode: int | None = None

    def __init__(self) -> None:
        self._waits = Waits()

    def names(self, folder: str) -> list[str]:
        """List a folder; a folder that does not exist is empty."""
        try:
            return [name for name in os.listdir(folder) if not name.startswith(_TEMPORARY)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Map the regular files of a folder to their sizes in bytes."""
        sizes = {}
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode) and not entry.name.startswith(_TEMPORARY):
                        sizes[entry.name] = status.st_size
        return sizes

    def ages(self, folder: str) -> Mapping[str, float]:
        """Map the regular files of a folder to the seconds since they were written.

        The clock of a file server is not ours; a file made now shows what time it is there.
        """
        now = 0.0
        with suppress(OSError):
            probe = self._put_temporary(folder, b"")
            now = os.stat(probe).st_mtime
            self.remove(probe)
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            return {
                entry.name: now - entry.stat().st_mtime
                for entry in entries
                if entry.is_file() and not entry.name.startswith(_TEMPORARY)
            }
        return {}

    def read(self, path: str, offset: int = 0, size: int | None = None) -> bytes:
        """Read a file from ``offset`` on, to its end or ``size`` bytes of it."""
        with open(path, "rb") as file:
            if offset:
                file.seek(offset)
            return file.read(-1 if size is None else size)

    def read_many(self, places: Sequence[tuple[str, int]]) -> Iterator[bytes | None]:
        """Yield the content of files from an offset on, None for those that are not there.

        On a slow filesystem the waits overlap.
        """
        return self._waits.map(self._read_or_none, places)

    def _read_or_none(self, place: tuple[str, int]) -> bytes | None:
        try:
            return self.read(*place)
        except FileNotFoundError:
            return None

    def make_folder(self, folder: str) -> None:
        """Make a folder with its parents, durably."""
        if os.path.isdir(folder):
            return
        parent = os.path.dirname(folder)
        if parent and parent != folder:
            self.make_folder(parent)
        try:
            os.mkdir(folder)
        except FileExistsError:
            return
        if self.mode is not None:
            os.chmod(folder, folder_mode(self.mode))
        self.sync_folder(parent)

    def open_append(self, path: str) -> int:
        """Create a file for durable appends and return its descriptor."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_DSYNC | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o666)
        self._permit(descriptor)
        self.sync_folder(os.path.dirname(path))
        return descriptor

    def is_readable(self, path: str) -> bool:
        """Tell whether this user may read a file."""
        return os.access(path, os.R_OK, effective_ids=True)

    def is_unlinked(self, descriptor: int) -> bool:
        """Tell whether an open file has no name any more: nobody would find what goes into it."""
        return os.fstat(descriptor).st_nlink == 0

    def append(self, descriptor: int, data: bytes) -> None:
        """Append in one durable write. After an error an unknown part of it may be there."""
        written = os.write(descriptor, data)
        if written != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def put_new(self, path: str, data: bytes) -> None:
        """Create a file with this content, wholly and durably, or not at all.

        Raises:
            FileExistsError: somebody else created it before.
        """
        folder = os.path.dirname(path)
        temporary = self._put_temporary(folder, data)
        try:
            try:
                self._link(temporary, path)
            except OSError:
                # NFS may lose the reply of a link that was made; asked again, it says EEXIST
                if not _are_same(temporary, path):
                    raise
        finally:
            self.remove(temporary)
        self.sync_folder(folder)

    def put_over(self, path: str, data: bytes) -> None:
        """Replace a file's content, wholly and durably, or not at all."""
        self._rename(self._put_temporary(os.path.dirname(path), data), path)

    def copy(self, path: str, target: str) -> None:
        """Put a copy of a file in a place, wholly and durably, over what may be there."""
        with open(path, "rb") as source:
            temporary = self._put_temporary(os.path.dirname(target), source)
        self._rename(temporary, target)

    def remove(self, path: str) -> None:
        """Remove a file that may be gone already."""
        with suppress(FileNotFoundError):
            self._unlink(path)

    def sweep(self, folder: str) -> None:
        """Remove what killed writers left behind in a folder; nobody ever reads it."""
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(_TEMPORARY):
                    with suppress(OSError):
                        if time.time() - entry.stat().st_mtime > _LEFTOVER:
                            os.unlink(entry.path)

    def sync_folder(self, folder: str) -> None:
        """Make a folder's names durable."""
        descriptor = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _rename(self, temporary: str, path: str) -> None:
        inode = os.stat(temporary).st_ino
        try:
            self._replace(temporary, path)
        except OSError:
            # the reply of a rename can be lost too; asked again, it finds no source
            if os.path.exists(temporary) or os.stat(path).st_ino != inode:
                self.remove(temporary)
                raise
        self.sync_folder(os.path.dirname(path))

    def _link(self, path: str, name: str) -> None:
        os.link(path, name)

    def _replace(self, path: str, name: str) -> None:
        os.replace(path, name)

    def _unlink(self, path: str) -> None:
        os.unlink(path)

    def _permit(self, descriptor: int) -> None:
        if self.mode is not None:
            os.fchmod(descriptor, self.mode)

    def _put_temporary(self, folder: str, data: bytes | BinaryIO) -> str:
        path = os.path.join(folder, _TEMPORARY + new_id())
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        # one sync of a whole file, not one of each piece
        flags |= os.O_DSYNC if isinstance(data, bytes) else 0
        descriptor = os.open(path, flags, 0o666)
        try:
            self._permit(descriptor)
            pieces = (data,) if isinstance(data, bytes) else iter(lambda: data.read(_PIECE), b"")
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[os.write(descriptor, view) :]
            if not isinstance(data, bytes):
                os.fsync(descriptor)
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(descriptor)
        return path


def folder_mode(mode: int) -> int:
    """Return the permissions of folders with files of a mode: 0o660 makes 0o2770.

    The set-group bit has all that is made below belong to the folder's group.
    """
    return mode | (mode & 0o444) >> 2 | 0o2000


def _are_same(path: str, name: str) -> bool:
    """Tell whether two names are of one file, as the server sees it."""
    try:
        # opening, unlike stat, asks an NFS server for what it knows now
        with open(path, "rb") as one, open(name, "rb") as other:
            return os.path.sameopenfile(one.fileno(), other.fileno())
    except OSError:
        return False
