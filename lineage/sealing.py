"""Seals in the background: one process a store and host, which outlives the one that started it.

    python -m nemotron.lineage.sealing ADDRESS [--rate BYTES]

It takes only the time of processor and disk that nobody else wants, seals what it finds, looks
again a few times with growing pauses, and ends when nothing came. Whoever starts another one while
it works leaves a note, so that it looks again, and ends at once. What it does is told in
``sealing-<user id>.log`` in the store's cache folder.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import sqlite3
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .background import start
from .errors import LineageError, StoreUnsuitable
from .files import Files
from .journal.kinds import absolute_address
from .pace import yield_to_others
from .registry import open_store
from .seals import seal_all
from .settings import choose_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .registry import Lineage

__all__ = ["alone", "start_sealing"]

_log = logging.getLogger(__name__)

_PATIENCE = 100.0  # seconds without anything to seal
_PARTS = (0.02, 0.1, 0.28, 0.6)  # of the patience, from look to look
_STEP = 0.5  # seconds between looks for a note
_LOG_SIZE = 1 << 20  # bytes; beyond it the log begins anew


def start_sealing(
    address: str | os.PathLike[str] | None,
    *,
    rate: float | None = None,
    patience: float = _PATIENCE,
) -> None:
    """Have everything that is not sealed yet sealed by a process in the background.

    Returns at once, reads nothing, opens no store, and may be called from any thread of a training
    process, as often as one likes: where a sealer works on this host already, it takes the news.
    The sealer goes on when the caller ends, but not beyond the end of its container or of its
    Slurm job step; what is left then, ``lineage seal`` finishes.

    Args:
        address: the store's, or None, as for ``open``.
        rate: bytes a second at the most, or None.
        patience: seconds without anything to seal, after which the sealer ends.

    Raises:
        StoreUnsuitable: a store in memory, which no other process sees.
        OSError: no process can be started.
    """
    place = absolute_address(choose_store(address)[0])
    if place == "memory:":
        raise StoreUnsuitable("a store in memory cannot be sealed by another process; use seal()")
    rated = [] if rate is None else ["--rate", str(rate)]
    start("sealing", place, "--patience", str(patience), *rated)


@contextmanager
def alone(folder: str, work: str = "sealing") -> Iterator[bool]:
    """Give whether this process is the only one that does some work for a store on this host.

    The kernel opens the lock when its holder dies; its file is never removed.

    Args:
        folder: the cache folder of the store.
        work: names the lock.
    """
    Files().make_folder(folder)
    # to read is enough for a lock: the file may be another user's
    flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(os.path.join(folder, f"{work}.lock"), flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def main(words: Sequence[str] | None = None) -> int:
    """Seal until there is nothing left, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m nemotron.lineage.sealing")
    parser.add_argument("address", metavar="ADDRESS", help="of the store")
    parser.add_argument("--rate", type=float, metavar="BYTES", help="a second at the most")
    parser.add_argument("--patience", type=float, default=_PATIENCE, metavar="SECONDS")
    chosen = parser.parse_args(words)
    yield_to_others()
    with open_store(chosen.address, create=False) as store:
        folder = store.journal.cache
        if folder is None:
            parser.exit(1, f"{chosen.address} has no cache folder. Try: lineage seal\n")
        Files().make_folder(folder)
        note = os.path.join(folder, "sealing.note")
        # First the note, then the lock: who holds it looks for a note after giving it back.
        os.close(os.open(note, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        while os.path.exists(note):
            with alone(folder) as mine:
                if not mine:
                    return 0
                _tell(folder)
                _work(store, note, chosen.rate, chosen.patience)
    return 0


def _tell(folder: str) -> None:
    """Write what is said from here on, tracebacks too, into a log that only this user can read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(os.path.join(folder, f"sealing-{os.getuid()}.log"), flags, 0o600)
    if os.fstat(descriptor).st_size > _LOG_SIZE:
        os.ftruncate(descriptor, 0)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)


def _work(store: Lineage, note: str, rate: float | None, patience: float) -> None:
    """Look, and look again until nothing came for as long as the patience lasts."""
    parts = iter(_PARTS)
    while True:
        with suppress(FileNotFoundError):
            os.unlink(note)
        if _look(store, rate):
            parts = iter(_PARTS)
        part = next(parts, None)
        if part is None:
            return
        _log.info("looking again in %.0f s, or when told", part * patience)
        until = time.monotonic() + part * patience
        while not os.path.exists(note) and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _STEP))


def _look(store: Lineage, rate: float | None) -> bool:
    """Seal what there is, and tell whether anything was sealed."""
    found = False
    try:
        for version, error in seal_all(store, rate=rate):
            if error is None:
                _log.info("sealed %s as %s", version.uri, version.digest)
                found = True
            else:
                _log.warning("left out: %s", error)
    except (LineageError, OSError, sqlite3.Error):
        _log.exception("the store cannot be used now")
    return found


if __name__ == "__main__":
    sys.exit(main())
