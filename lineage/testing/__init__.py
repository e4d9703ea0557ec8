"""The suite that every journal passes, and what tests put between a store and the world.

A new kind of journal is proved by subclassing ``LastingJournalSuite`` and by
``store_machine``::

    class TestMyJournal(LastingJournalSuite):
        def open_journal(self, place: Path) -> Journal:
            return MyJournal(place / "store")

    TestMyJournalStates = store_machine(
        lambda place, clock: MyJournal(place / "store", clock=clock)
    )

One that hosts share also passes ``FaultyJournalSuite``, with ``Faults`` in front of its place.

Needs pytest and hypothesis: ``pip install nemotron-lineage[testing]``.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:  # as typing's, without its import
    from .clock import SetClock as SetClock
    from .faults import Faults as Faults
    from .faults import FaultyBucket as FaultyBucket
    from .faults import FaultyFiles as FaultyFiles
    from .faulty import FaultyJournalSuite as FaultyJournalSuite
    from .records import publish as publish
    from .states import store_machine as store_machine
    from .suite import JournalSuite as JournalSuite
    from .suite import LastingJournalSuite as LastingJournalSuite

_HOME = {
    "Faults": "faults",
    "FaultyBucket": "faults",
    "FaultyFiles": "faults",
    "FaultyJournalSuite": "faulty",
    "JournalSuite": "suite",
    "LastingJournalSuite": "suite",
    "SetClock": "clock",
    "publish": "records",
    "store_machine": "states",
}

__all__ = sorted(_HOME)  # noqa: PLE0605 - all of them are names


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOME[name]}", __name__), name)
