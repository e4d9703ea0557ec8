"""The suite that every journal passes, and what tests put between a store and the world.

A new kind of journal is proved by subclassing ``LastingJournalSuite`` and by
``store_machine``::

    class TestMyJournal(LastingJournalSuite):
        def open_journal(self, place: Path) -> Journal:
            return MyJournal(place / "store")

    TestMyJournalStates = store_machine(
        lambda place, clock: MyJournal(place / "store", clock=clock)
    )

Needs pytest and hypothesis: ``pip install nemotron-lineage[testing]``.
"""

from .clock import SetClock
from .faults import FaultyFiles
from .states import store_machine
from .suite import JournalSuite, LastingJournalSuite

__all__ = ["FaultyFiles", "JournalSuite", "LastingJournalSuite", "SetClock", "store_machine"]
