"""The PostgreSQL journal passes the shipped suite, on a real server."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import RUNNING

from nemotron.lineage.clock import Clock
from nemotron.lineage.journal.base import Journal
from nemotron.lineage.journal.postgres import PostgresJournal
from nemotron.lineage.testing import LastingJournalSuite, store_machine

pytestmark = [pytest.mark.postgres, pytest.mark.usefixtures("server")]


def _open(place: Path, clock: Clock | None = None) -> Journal:
    schema = "".join(char if char.isalnum() else "_" for char in str(place)).lower()[-60:]
    return PostgresJournal(
        RUNNING["postgres"].address(f"s{schema}"), waiting=str(place / "waiting"),
        cache=str(place / "cache"), clock=clock,
    )  # fmt: skip


class TestPostgresJournal(LastingJournalSuite):
    def open_journal(self, place: Path) -> Journal:
        return _open(place)


TestPostgresStates = store_machine(_open)
