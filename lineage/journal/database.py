"""One connection to a PostgreSQL server: opened when it is needed, and what its errors mean.

Every statement is a transaction of its own, so that no transaction ever waits for this client. A
server drops what it holds for a client that is gone by the timeouts set here.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from ..errors import (
    LineageError,
    StoreBusy,
    StoreError,
    StoreFull,
    StoreNotFoundError,
    StoreReadOnly,
    StoreUnreachable,
    StoreUnsuitable,
)
from ..process import PerProcess
from .base import HeadMoved

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

__all__ = ["Database", "read_address"]

Statement = tuple[str, dict[str, Any]]
Rows = list[tuple[Any, ...]]

_SCHEMA = "lineage"
_LONGEST = 63  # characters of a name; PostgreSQL cuts off the rest
_TESTED = 150000  # PostgreSQL 15
_OPTIONS = {
    "lock_timeout": "10s",  # a commit holds the one lock for less than a millisecond
    "statement_timeout": "60s",
    "default_transaction_isolation": "read\\ committed",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_CONNECT = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
    "application_name": "nemotron-lineage",
}
_SECRET = ("password", "sslpassword")
# SQLSTATE, or its first two characters: what it means here
_MEANING: dict[str, tuple[type[LineageError], str]] = {
    "40": (HeadMoved, "another client was faster"),  # where transactions are serializable
    "53100": (StoreFull, "the server's disk is full; nothing was written, free some"),
    "25006": (StoreReadOnly, "the server takes no writes (a standby?); ask its owner"),
    "42501": (StoreReadOnly, "this role may not do that; ask the store's owner for the right"),
    "55P03": (StoreBusy, "another client held the head for 10 s; try again"),
    "57014": (StoreBusy, "the server did not get it done in 60 s; try again"),
    "53300": (StoreBusy, "the server takes no more connections; close some, or use a pooler"),
    "3F000": (StoreNotFoundError, "there is no store; make one with: lineage init"),
    "42P01": (StoreNotFoundError, "there is no store; make one with: lineage init"),
    "08": (StoreUnreachable, "the connection was lost"),
    "57P": (StoreUnreachable, "the server is shutting down"),
}
# a refused connection comes without a SQLSTATE: what its text holds
_REFUSAL: dict[str, tuple[type[StoreError], str]] = {
    "too many c": (StoreBusy, "the server takes no more connections; close some, or use a pooler"),
    "remaining connection slots": (StoreBusy, "the server takes no more connections; close some"),
    "database": (StoreNotFoundError, "there is no such database; check the address"),
    "authentication": (StoreReadOnly, "the server refuses this login; see PGUSER and ~/.pgpass"),
    "role": (StoreReadOnly, "the server knows no such role; see PGUSER"),
    "pg_hba.conf": (StoreReadOnly, "the server lets nobody in from here; ask its owner"),
}


def read_address(address: str) -> tuple[str, str]:
    """Return (what libpq takes, schema) for ``postgresql://[user@]host/database?schema=name``.

    Raises:
        StoreUnsuitable: it holds a password.
    """
    scheme, _, rest = address.partition("://")
    place, _, query = rest.partition("?")
    user, at, _ = place.partition("/")[0].rpartition("@")
    words = dict(parse_qsl(query, keep_blank_values=True))
    if (at and ":" in user) or any(word in words for word in _SECRET):
        raise StoreUnsuitable(
            "the address of a store holds no password, since it is recorded and shown; put it "
            "into ~/.pgpass or PGPASSWORD"
        )
    schema = words.pop("schema", _SCHEMA)
    if not (schema.isidentifier() and schema.isascii() and len(schema) <= _LONGEST):
        raise StoreUnsuitable(f"{schema!r} cannot be a schema; use up to 63 letters, digits and _")
    return f"{scheme}://{place}{f'?{urlencode(words)}' if words else ''}", schema


class Database(PerProcess):
    """Asks one server. Safe in threads; a forked child opens a connection of its own.

    Args:
        address: of the store.
    """

    def __init__(self, address: str) -> None:
        self._shown = address
        self._address, self._schema = read_address(address)
        super().__init__()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._connection: psycopg.Connection | None = None

    def ask(self, *statements: Statement, again: bool = True) -> list[Rows]:
        """Run statements in one round trip, each a transaction of its own; return their rows.

        Args:
            statements: text with ``{schema}`` and ``%(name)s``, and values.
            again: when the connection turns out to be lost, open another and ask once more. Only
                for statements that may run twice.

        Raises:
            StoreUnreachable: nothing answers, or the answer was lost: what was asked may have
                been done.
            StoreBusy, StoreFull, StoreReadOnly, StoreNotFoundError, StoreError: it was not done.
        """
        self._own()
        with self._lock:
            fresh = self._connection is None
            cursors: list[psycopg.Cursor[tuple[Any, ...]]] = []
            try:
                return self._ask(statements, cursors)
            except StoreUnreachable:
                if fresh or not again:
                    raise
                return self._ask(statements, [])
            except LineageError as error:
                if again or not cursors or cursors[0].pgresult is None:
                    raise
                raise StoreUnreachable(f"{error}; what was asked before that was done") from error

    def _ask(
        self, statements: tuple[Statement, ...], cursors: list[psycopg.Cursor[tuple[Any, ...]]]
    ) -> list[Rows]:
        texts = [(text.replace("{schema}", self._schema), values) for text, values in statements]
        with self._explained():
            connection = self._connection or self._open()
            if len(texts) == 1:
                return [_rows(connection.execute(*texts[0]))]
            with connection.pipeline() as pipeline:
                for text, values in texts:
                    cursors.append(connection.execute(text, values))
                    pipeline.sync()  # each commits, whatever becomes of the next
            return [_rows(cursor) for cursor in cursors]

    def _open(self) -> psycopg.Connection:
        import psycopg

        options = " ".join(f"-c {key}={value}" for key, value in _OPTIONS.items())
        if os.environ.get("PGOPTIONS"):
            options = f"{options} {os.environ['PGOPTIONS']}"
        self._connection = psycopg.connect(
            self._address, autocommit=True, prepare_threshold=None, options=options,
            **_CONNECT,  # type: ignore[arg-type]  # names and numbers of libpq
        )  # fmt: skip
        if self._connection.info.server_version < _TESTED:
            self.close()
            raise StoreUnsuitable(f"{self._shown} is older than PostgreSQL 15; use a newer server")
        # what is acknowledged must be on the disk; a stricter setting of the server stays
        self._connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit')='off'"
        )
        return self._connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in one sentence what an error of the server means for the store."""
        try:
            import psycopg
        except ImportError:
            raise StoreUnsuitable(
                f"{self._shown} needs psycopg; try: pip install 'nemotron-lineage[postgres]'"
            ) from None
        try:
            yield
        except psycopg.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: psycopg.Error) -> LineageError:
        lost = self._connection is None or self._connection.broken
        if lost:
            self._drop()
        state = error.sqlstate or ""
        for length in (5, 3, 2):
            if state[:length] in _MEANING:
                kind, meaning = _MEANING[state[:length]]
                return kind(f"{self._shown}: {meaning}")
        if lost and "FATAL" in str(error):
            for words, (kind, meaning) in _REFUSAL.items():
                if words in str(error):
                    return kind(f"{self._shown}: {meaning}")
        # the first line alone: the others repeat the statement or the address
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if lost:
            return StoreUnreachable(f"{self._shown} does not answer: {said}")
        return StoreError(f"{self._shown}: {said}")

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Give the connection back; the next question opens another."""
        self._own()
        self._drop()


def _rows(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Rows:
    return cursor.fetchall() if cursor.description is not None else []
