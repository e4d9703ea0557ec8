"""One server for a run of these tests; every test has a schema of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.servers import PostgresServer, postgres_server

RUNNING: list[PostgresServer] = []  # for classes that hypothesis makes, which take no fixtures


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A server with a few roles."""
    with postgres_server() as server:
        RUNNING.append(server)
        yield server
        RUNNING.clear()


@pytest.fixture
def address(server: PostgresServer) -> str:
    """The address of a store that is not made yet."""
    return server.address()
