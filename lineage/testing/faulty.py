"""What shared journals keep to when the place they are kept in does not behave."""

from __future__ import annotations

import errno
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import pytest

from .. import audit
from ..errors import LineageError, StoreUnreachable
from ..registry import Lineage
from .records import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..journal.base import Journal
    from .faults import Faults

    Host = tuple[Lineage, Faults]

__all__ = ["FaultyJournalSuite"]


class FaultyJournalSuite(ABC):
    """Subclass it, say how the journal is opened with faults in front of it, and run it all."""

    @abstractmethod
    def open_journal(self, place: Path, host: str, delay: float) -> tuple[Journal, Faults]:
        """Open the journal at a place as one of several hosts, each with its own cache."""

    @pytest.fixture
    def host(self, tmp_path: Path) -> Iterator[Callable[..., Host]]:
        """Give stores on hosts of their own."""
        opened: list[Lineage] = []

        def host(name: str = "a", delay: float = 0.0) -> Host:
            journal, faults = self.open_journal(tmp_path, name, delay)
            store = Lineage(journal)
            opened.append(store)
            return store, faults

        yield host
        for store in opened:
            store.close()

    @staticmethod
    def _must_hold(store: Lineage, *paths: str) -> None:
        found = [version.address for version in reversed(store.log("model"))]
        assert found == list(paths)
        report = audit.fsck(store)
        assert report.is_clean, report.damage
        assert report.pending == 0

    def test_lost_reply_of_a_commit_is_found_out(self, host: Callable[..., Host]) -> None:
        store, faults = host()
        store.commit(publish(path="/1"))
        faults.lose_reply("put_new")
        assert store.commit(publish(path="/2")).version == ("model", 2)
        assert store.commit(publish(path="/3")).version == ("model", 3)
        self._must_hold(store, "/1", "/2", "/3")

    @pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
    def test_commit_that_failed_takes_no_number(self, host: Callable[..., Host], code: int) -> None:
        store, faults = host()
        store.commit(publish(path="/1"))
        faults.fail("put_new", code)
        try:
            store.commit(publish(path="/2"))
        except (LineageError, OSError):
            taken = False
        else:
            taken = True
        assert store.commit(publish(path="/3")).version == ("model", 3 if taken else 2)
        self._must_hold(store, "/1", *(["/2"] if taken else []), "/3")

    def test_commit_behind_an_old_listing_is_numbered_right(
        self, host: Callable[..., Host]
    ) -> None:
        (ours, faults), (theirs, _) = host("a"), host("b")
        ours.commit(publish(path="/1"))
        faults.show_old()
        ours.resolve("model")
        for number in range(2, 6):
            theirs.commit(publish(path=f"/{number}"))
        assert ours.commit(publish(path="/6")).version == ("model", 6)
        assert ours.commit(publish(path="/7")).version == ("model", 7)
        faults.show_old(old=False)
        self._must_hold(ours, *(f"/{number}" for number in range(1, 8)))

    def test_reader_behind_an_old_listing_shows_what_was(self, host: Callable[..., Host]) -> None:
        (ours, faults), (theirs, _) = host("a"), host("b")
        ours.commit(publish(path="/1"))
        faults.show_old()
        assert ours.resolve("model").number == 1
        theirs.commit(publish(path="/2"))
        assert ours.resolve("model").number in (1, 2)
        faults.show_old(old=False)
        assert ours.resolve("model").number == 2

    def test_failed_reading_is_told_and_passes(self, host: Callable[..., Host]) -> None:
        (ours, faults), (theirs, _) = host("a"), host("b")
        ours.commit(publish(path="/1"))
        theirs.commit(publish(path="/2"))
        faults.fail("read", errno.EIO, times=3)
        with pytest.raises((OSError, StoreUnreachable)):
            ours.resolve("model")
        faults.fail("read", times=0)
        self._must_hold(ours, "/1", "/2")

    def test_failed_listing_is_told_and_passes(self, host: Callable[..., Host]) -> None:
        store, faults = host()
        store.commit(publish(path="/1"))
        faults.fail("names", errno.EIO)
        with pytest.raises((OSError, StoreUnreachable)):
            store.resolve("model")
        self._must_hold(store, "/1")

    def test_slow_hosts_in_a_crowd_lose_and_double_nothing(self, host: Callable[..., Host]) -> None:
        hosts = [host(name, 0.005)[0] for name in "abcd"]
        hosts[0].commit(publish(path="/first"))
        told: list[object] = []

        def work(number: int) -> None:
            told.extend(
                hosts[number].commit(publish(path=f"/{number}/{at}")).version for at in range(8)
            )

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(told, key=str) == sorted([("model", n) for n in range(2, 34)], key=str)
        for store in hosts:
            report = audit.fsck(store)
            assert report.is_clean, report.damage
            assert len(store.log("model")) == 33
