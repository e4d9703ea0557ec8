"""The journal in a bucket passes the shipped suite, against an S3 endpoint on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import RUNNING

from nemotron.lineage.clock import Clock
from nemotron.lineage.journal.base import Journal
from nemotron.lineage.journal.bucket import Bucket
from nemotron.lineage.journal.objectstore import ObjectStoreJournal
from nemotron.lineage.testing import (
    Faults,
    FaultyBucket,
    FaultyJournalSuite,
    LastingJournalSuite,
    store_machine,
)

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


class TestObjectStoreJournalWithFaults(FaultyJournalSuite):
    def open_journal(self, place: Path, host: str, delay: float) -> tuple[Journal, Faults]:
        endpoint = RUNNING["objects"]
        bucket = FaultyBucket(
            endpoint.address(str(place).strip("/")), endpoint.environ(), delay=delay
        )
        journal = ObjectStoreJournal(
            endpoint.address(str(place).strip("/")), waiting=str(place / "waiting"),
            cache=str(place / host), bucket=bucket,
        )  # fmt: skip
        return journal, bucket


TestObjectStoreStates = store_machine(_open, examples=6)
