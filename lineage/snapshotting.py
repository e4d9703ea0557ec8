"""Makes a snapshot in a process of its own, started by whoever noticed that one is due.

    python -m nemotron.lineage.snapshotting ADDRESS

Many hosts may notice at once: each waits for a while drawn by lot, and looks again.
"""

from __future__ import annotations

import random
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

from .errors import LineageError
from .journal.kinds import open_journal
from .pace import yield_to_others
from .sealing import alone
from .snapshots import is_due, make_snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_WAIT = 30.0  # seconds


def main(words: Sequence[str], *, wait: float = _LONGEST_WAIT) -> int:
    """Make a snapshot if one is still due, and return the exit status."""
    yield_to_others()
    time.sleep(random.random() * wait)  # noqa: S311 - nobody has to be surprised
    try:
        with closing(open_journal(words[0], create=False)) as journal:
            if journal.cache is None or not is_due(journal, journal.head().number):
                return 0
            with alone(journal.cache, "snapshots") as mine:
                if mine:
                    make_snapshots(journal)
    except (LineageError, OSError) as error:
        sys.stderr.write(f"lineage: no snapshot was made: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
