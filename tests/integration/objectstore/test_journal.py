"""The journal in a bucket passes the shipped suite, against an S3 endpoint on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import RUNNING

from nemotron.lineage.clock import Clock
from nemotron.lineage.journal.base import Journal
from nemotron.lineage.journal.bucket import Bucket
from nemotron.lineage.journal.objectstore import ObjectStoreJournal
from nemotron.lineage.testing import LastingJournalSuite, store_machine

pytestmark = pytest.mark.usefixtures("endpoint")


def _open(place: Path, clock: Clock | None = None) -> Journal:
    address = RUNNING["objects"].address(str(place).strip("/"))
    return ObjectStoreJournal(
        address, waiting=str(place / "waiting"), cache=str(place / "cache"), clock=clock,
        bucket=Bucket(address, RUNNING["objects"].environ()),
    )  # fmt: skip


class TestObjectStoreJournal(LastingJournalSuite):
    def open_journal(self, place: Path) -> Journal:
        return _open(place)


TestObjectStoreStates = store_machine(_open, examples=10)
