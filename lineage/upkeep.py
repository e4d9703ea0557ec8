"""Packs old commits and makes a snapshot, in a process that whoever noticed the need has started.

    python -m nemotron.lineage.upkeep ADDRESS

It takes only the time of processor and disk that nobody else wants. Many hosts may notice at once
that a snapshot is due: each waits for a while drawn by lot, and looks again.
"""

from __future__ import annotations

import random
import sys
import time
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

from .errors import LineageError
from .journal.kinds import open_journal
from .journal.numbered import NumberedJournal
from .pace import yield_to_others
from .sealing import alone
from .snapshots import is_due, make_snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .journal.base import Journal

_LONGEST_WAIT = 30.0  # seconds


def main(words: Sequence[str], *, wait: float = _LONGEST_WAIT) -> int:
    """Do what is due, and return the exit status."""
    yield_to_others()
    try:
        with closing(open_journal(words[0], create=False)) as journal:
            # without a cache two may be at it: that is safe, and wasted
            lock = nullcontext(True) if journal.cache is None else alone(journal.cache, "upkeep")  # noqa: FBT003 - as alone gives it
            with lock as mine:
                if mine:
                    _work(journal, wait)
    except (LineageError, OSError) as error:
        sys.stderr.write(f"lineage: {words[0]} was not tidied: {error}\n")
        return 1
    return 0


def _work(journal: Journal, wait: float) -> None:
    if isinstance(journal, NumberedJournal):
        journal.tidy()
    if journal.cache is not None and is_due(journal, journal.head().number):
        time.sleep(random.random() * wait)  # noqa: S311 - nobody has to be surprised
        if is_due(journal, journal.head().number):
            make_snapshots(journal)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
