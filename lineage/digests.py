"""What bytes are: a fingerprint at once from names and sizes, a digest of everything later."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from stat import S_ISDIR
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Digest", "digest", "fingerprint"]

SIDECAR = 1 << 20  # bytes; larger files are not read for a fingerprint
SIDECARS = 4 << 20  # bytes of all files read for one fingerprint
OWN = ".lineage"  # our intakes beside checkpoints are no part of them
# Torch's distributed checkpoints hold a random id in it: another one at every save of equal content
RANDOM = ".metadata"
_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class Digest:
    """Digest of all bytes of a file or folder.

    Attributes:
        text: ``blake3:`` and 64 hex digits. For one file that of its bytes (as ``b3sum`` gives);
            for a folder that of its sorted manifest: a line ``<blake3> <size> <path>`` a file.
        size: bytes in all.
        files: how many files.
    """

    text: str
    size: int
    files: int


def fingerprint(path: str | os.PathLike[str]) -> str:
    """Return what tells content apart at the cost of a listing.

    It covers the names and sizes of all files, and the bytes of those up to 1 MiB that lie at the
    top (configs, training state; 4 MiB in all). No times, so a save of equal content has an equal
    fingerprint. Content that differs only inside large files of equal size is told apart by the
    digest alone.

    Raises:
        OSError: something cannot be read.
    """
    text = os.fspath(path)
    total = hashlib.sha256()
    status = os.stat(text)
    if not S_ISDIR(status.st_mode):
        size = status.st_size
        total.update(b"file %d\n" % size)
        if size <= SIDECAR:
            total.update(_read(text, size))
        return f"fp1:{total.hexdigest()}"
    budget = SIDECARS
    lines = []
    for name, size in _files(text):
        content = ""
        if 0 < size <= SIDECAR and size <= budget and "/" not in name and name != RANDOM:
            budget -= size
            content = hashlib.sha256(_read(os.path.join(text, name), size)).hexdigest()
        lines.append(f"{size} {name} {content}\n")
    total.update(os.fsencode("".join(lines)))
    return f"fp1:{total.hexdigest()}"


def digest(path: str | os.PathLike[str], progress: Callable[[int], object] | None = None) -> Digest:
    """Read everything and return its digest.

    Args:
        path: a file or folder.
        progress: called with the number of bytes as they are read.

    Raises:
        OSError: something cannot be read.
    """
    text = os.fspath(path)
    if not os.path.isdir(text):
        return Digest(f"blake3:{_blake3(text, progress)}", os.path.getsize(text), 1)
    from blake3 import blake3

    manifest = blake3()
    total = files = 0
    for name, size in _files(text):
        if name != RANDOM:
            value = _blake3(os.path.join(text, name), progress)
            manifest.update(b"%b %d %b\n" % (value.encode(), size, os.fsencode(name)))
            total, files = total + size, files + 1
    return Digest(f"blake3:{manifest.hexdigest()}", total, files)


def _files(folder: str) -> list[tuple[str, int]]:
    """Return (path inside, size) of every file below a folder, our own left out, in order."""
    found = []
    stack = [""]
    while stack:
        inside = stack.pop()
        with os.scandir(f"{folder}/{inside}") as entries:
            for entry in entries:
                name = inside + entry.name
                if entry.is_file(follow_symlinks=False):  # the most of them
                    found.append((name, entry.stat().st_size))
                elif entry.is_dir(follow_symlinks=False):
                    if entry.name != OWN:
                        stack.append(f"{name}/")
                elif entry.is_symlink() and not os.path.exists(entry.path):
                    found.append((name, 0))  # a dangling link is content too: its name counts
                else:
                    found.append((name, entry.stat().st_size))
    found.sort()
    return found


def _read(path: str, size: int) -> bytes:
    """Read a small file; a bare descriptor costs a third of a file object."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)


def _blake3(path: str, progress: Callable[[int], object] | None) -> str:
    from blake3 import blake3

    value = blake3(max_threads=blake3.AUTO)
    if os.path.islink(path) and not os.path.exists(path):
        return value.hexdigest()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            value.update(chunk)
            if progress is not None:
                progress(len(chunk))
    return value.hexdigest()
