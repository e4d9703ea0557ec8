"""What bytes are: a fingerprint at once from names and sizes, a digest of everything later."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from stat import S_ISDIR
from typing import TYPE_CHECKING

from .hashing import hash_files, hasher
from .listing import RANDOM, Listing, walk
from .pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .remembered import Remembered

__all__ = ["Digest", "digest", "digest_listing", "fingerprint"]

SIDECAR = 1 << 20  # bytes; larger files are not read for a fingerprint
SIDECARS = 4 << 20  # bytes of all files read for one fingerprint


@dataclass(frozen=True, slots=True)
class Digest:
    r"""Digest of all bytes of a file or folder.

    Attributes:
        text: ``blake3:`` and 64 hex digits. For one file that of its bytes (as ``b3sum`` gives);
            for a folder that of its sorted manifest: a line ``<blake3> <size> <path>`` a file. In
            a path, a backslash is written as two and a line feed as ``\n``.
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
    for name, size in sorted([(name, known.st_size if known else 0) for name, known in walk(text)]):
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
        ContentChanged: somebody wrote to it while it was read.
        OSError: something cannot be read.
    """
    listing = Listing.of(path)
    told = 0

    def tell(done: int, total: int) -> None:
        nonlocal told
        del total
        if progress is not None and done > told:
            progress(done - told)
            told = done

    return digest_listing(listing, Pace(listing.size, progress=tell))


def digest_listing(
    listing: Listing,
    pace: Pace,
    *,
    memory: Remembered | None = None,
    algorithm: str = "blake3",
) -> Digest:
    """Return the digest of a listing's files.

    Args:
        listing: what there was when it was listed; anything else is refused.
        pace: how fast to read, and whom to tell.
        memory: what was read before need not be read again, and is kept for the next time.
        algorithm: ``blake3``, or ``sha256`` to compare with what others made.

    Raises:
        ContentChanged: a file is not the one that was listed.
        OSError: something cannot be read.
    """
    known: dict[str, str] = {}
    if memory is not None:
        whole = memory.digest(listing)
        if whole is not None:
            pace.skip(listing.size)
            return whole
        known = memory.hashes(listing)
    pace.skip(sum(_size(listing, name) for name in known))
    hashes = dict(known)
    unknown = [name for name in listing.files if name not in known]
    for name, value in hash_files(listing, unknown, pace, algorithm):
        hashes[name] = value
        if memory is not None:
            memory.keep_hash(listing, name, value)
    found = _digest(listing, hashes, algorithm)
    if memory is not None:
        memory.keep_digest(listing, found)
    return found


def _digest(listing: Listing, hashes: Mapping[str, str], algorithm: str) -> Digest:
    """Put the hashes of all files together."""
    if listing.is_file:
        return Digest(f"{algorithm}:{hashes['']}", listing.size, 1)
    manifest = b"".join(
        b"%b %d %b\n" % (hashes[name].encode(), _size(listing, name), _in_line(name))
        for name in sorted(hashes)
    )
    total = hasher(algorithm)
    total.update(manifest)
    return Digest(f"{algorithm}:{total.hexdigest()}", listing.size, len(hashes))


def _size(listing: Listing, name: str) -> int:
    known = listing.files[name]
    return 0 if known is None else known[0]


def _in_line(name: str) -> bytes:
    """Return a name as it stands in a manifest: on one line, whatever is in it."""
    if "\n" in name or "\\" in name:  # as sha256sum and b3sum write it
        name = name.replace("\\", "\\\\").replace("\n", "\\n")
    return os.fsencode(name)


def _read(path: str, size: int) -> bytes:
    """Read a small file; a bare descriptor costs a third of a file object."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)
