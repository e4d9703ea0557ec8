"""What files a folder holds, each with its stamp: what differs once somebody wrote to it."""

from __future__ import annotations

import errno
import hashlib
import marshal
import os
import time
from dataclasses import dataclass
from functools import cached_property
from stat import S_ISREG
from typing import TYPE_CHECKING, Self

from .waits import Waits

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RANDOM", "Listing", "Stamp", "regular_status", "stamp", "walk"]

OWN = ".lineage"  # our intakes beside checkpoints are no part of them
# Torch's distributed checkpoints hold a random id in it: another one at every save of equal content
RANDOM = ".metadata"
# What a link that leads nowhere says: no such file, in a circle, below a file
_DANGLING = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)

# size, time of the last write and of the last change of any kind in ns, inode. The second time is
# the kernel's own: who writes and sets the first one back is still seen.
Stamp = tuple[int, int, int, int]

_TICK = 0.02  # seconds; the kernel's clock for files moves on every 1 to 10 ms
_COARSE = 2.0  # seconds; of filesystems that count whole ones (Lustre) or even ones (FAT)


def stamp(status: os.stat_result) -> Stamp:
    """Return the stamp of a file."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def walk(folder: str) -> list[tuple[str, os.stat_result | None]]:
    """Return (path inside, status) of every file below a folder, our own left out.

    The status is None for what has no bytes to read: dangling links, links to folders, sockets.
    Their name is content too.

    Raises:
        OSError: a folder or the status of a file cannot be read.
    """
    found: list[tuple[str, os.stat_result | None]] = []
    waits = Waits()
    stack = [""]
    while stack:
        inside = stack.pop()
        # names are looked up from the folder itself, not from the root each time
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        descriptor = os.open(f"{folder}/{inside}", flags)
        try:
            names, files = [], []
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    name = inside + entry.name
                    if not entry.is_dir(follow_symlinks=False):
                        names.append(name)
                        files.append(entry)
                    elif entry.name != OWN:
                        stack.append(f"{name}/")
            # names come many at a time, sizes one by one
            found += zip(names, waits.map(regular_status, files), strict=True)
        finally:
            os.close(descriptor)
    return found


def regular_status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of a file, None where there are no bytes to read."""
    try:
        status = entry.stat()
    except OSError as error:
        if error.errno in _DANGLING and entry.is_symlink():
            return None
        raise
    return status if S_ISREG(status.st_mode) else None


@dataclass(frozen=True)
class Listing:
    """All files of a folder at one moment, or a single file, with the name ``""``.

    Two are equal when nobody wrote to anything in between.

    Attributes:
        root: the folder or file.
        files: path inside to stamp; None for what has no bytes to read.
    """

    root: str
    files: Mapping[str, Stamp | None]

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Self:
        """List what is there now.

        Raises:
            OSError: nothing is there, or a folder cannot be read.
        """
        root = os.fspath(path)
        if not os.path.isdir(root):
            return cls(root, {"": stamp(os.stat(root))})
        return cls(
            root,
            {
                name: None if status is None else stamp(status)
                for name, status in walk(root)
                if name != RANDOM
            },
        )

    @property
    def is_file(self) -> bool:
        """Whether this is a single file."""
        return "" in self.files

    @cached_property
    def size(self) -> int:
        """Bytes in all."""
        return sum(each[0] for each in self.files.values() if each is not None)

    def path(self, name: str) -> str:
        """Return the path of a file by its name inside."""
        return f"{self.root}/{name}" if name else self.root

    @cached_property
    def stamp(self) -> str:
        """One stamp for all: it differs once somebody wrote to any of them."""
        # version 2 writes equal values in equal bytes; later ones count references
        return hashlib.sha256(marshal.dumps(list(self.files.items()), 2)).hexdigest()

    @cached_property
    def written(self) -> int:
        """When a file was last written to, in ns; 0 when there is none."""
        return max((each[1] for each in self.files.values() if each), default=0)

    def settle(self) -> None:
        """Wait until a further write would leave another stamp: one tick of the files' clock."""
        newest = max((max(each[1:3]) for each in self.files.values() if each), default=0)
        tick = _TICK if newest % 10**9 else _COARSE
        wait = newest / 1e9 + tick - time.time()
        if 0 < wait <= tick:  # beyond it the file server's clock is ahead, and nothing to wait for
            time.sleep(wait)
