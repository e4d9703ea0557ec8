"""Reads files and hashes their bytes, in several threads where cores are free."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING, Protocol

from .errors import ContentChanged
from .listing import stamp
from .pace import free_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .listing import Listing
    from .pace import Pace

__all__ = ["ALGORITHMS", "hash_files", "hasher"]

ALGORITHMS = ("blake3", "sha256")

_BLOCK = 1 << 20  # bytes; fits the processor's cache, so that hashing finds them there
_WIDE = 1 << 22  # bytes; enough for several threads to share
_SMALL = 1 << 20  # bytes; a thread costs more than it saves on smaller files
_VANISHED = (errno.ENOENT, errno.ESTALE)


class Hash(Protocol):
    """What both kinds of hash can do."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Return the hash of all bytes so far."""


def hasher(algorithm: str, threads: int = 1) -> Hash:
    """Return a new hash: ``blake3``, or ``sha256``, which cannot use threads."""
    if algorithm == "sha256":
        return hashlib.sha256()
    from blake3 import blake3

    return blake3(max_threads=threads)


def hash_files(
    listing: Listing, names: list[str], pace: Pace, algorithm: str = "blake3"
) -> Iterator[tuple[str, str]]:
    """Read some files of a listing and yield (name, hex digest) of each as it is finished.

    Big files are read side by side, small ones one after the other.

    Raises:
        ContentChanged: a file is no longer the one that was listed.
        OSError: a file cannot be read.
    """
    threads = free_cores()
    sizes = {name: known[0] if (known := listing.files[name]) else 0 for name in names}
    big = sorted((n for n in names if sizes[n] > _SMALL), key=sizes.__getitem__, reverse=True)
    for name in names:
        if sizes[name] <= _SMALL or threads == 1:
            yield name, _hash(listing, name, pace, hasher(algorithm))
    if not big or threads == 1:
        return
    from concurrent.futures import ThreadPoolExecutor, as_completed  # rarely needed

    each = max(1, threads // len(big))  # fewer files than threads: several work on one
    with ThreadPoolExecutor(min(threads, len(big)), "lineage-read") as pool:
        running = {
            pool.submit(_hash, listing, name, pace, hasher(algorithm, each), ahead=each > 1): name
            for name in big
        }
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        finally:
            # after an error, or when nobody wants the rest
            if not all(future.done() for future in running):
                pace.stop()


def _hash(listing: Listing, name: str, pace: Pace, value: Hash, *, ahead: bool = False) -> str:
    """Read one file, from its first byte to its last, and make sure that nobody writes to it."""
    known = listing.files[name]
    if known is None:
        return value.hexdigest()
    path, left = listing.path(name), known[0]
    block = pace.block(_WIDE if ahead else _BLOCK)
    read = _blocks_ahead if ahead else _blocks if left > block else _whole
    try:
        # if a pipe has taken the file's place, opening it must not wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            for data in read(descriptor, min(block, left + 1)):
                value.update(data)
                pace.spend(len(data))
                left -= len(data)
                if left < 0:  # somebody appends; there may be no end to it
                    break
            if left or stamp(os.fstat(descriptor)) != known:
                raise _changed(path)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _VANISHED:
            raise _changed(path) from error
        raise
    return value.hexdigest()


def _whole(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield all bytes of a small file at once: half the cost of reading up to its end."""
    yield os.read(descriptor, size)


def _blocks(descriptor: int, size: int) -> Iterator[memoryview]:
    """Yield the bytes of a file, block by block, always in the same memory."""
    buffer = memoryview(bytearray(size))
    while count := os.readv(descriptor, [buffer]):
        yield buffer[:count]


def _blocks_ahead(descriptor: int, size: int) -> Iterator[memoryview]:
    """Yield the bytes of a file; the next block is read while the last one is hashed."""
    from concurrent.futures import ThreadPoolExecutor  # rarely needed

    buffers = [memoryview(bytearray(size)) for _ in range(2)]
    with ThreadPoolExecutor(1, "lineage-read-ahead") as reader:
        coming = reader.submit(os.readv, descriptor, buffers[:1])
        while count := coming.result():
            here, other = buffers
            coming = reader.submit(os.readv, descriptor, [other])
            yield here[:count]
            buffers = [other, here]


def _changed(path: str) -> ContentChanged:
    return ContentChanged(path, f"{path} was written to while it was read; try again afterwards")
