"""What a real server does to a store: round trips, lost replies, restarts, roles, stuck clients."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.servers import PostgresServer, Wire, postgres_server

from nemotron import lineage
from nemotron.lineage import (
    Lineage,
    StoreBusy,
    StoreNotFoundError,
    StoreReadOnly,
    StoreUnreachable,
    StoreUnsuitable,
    audit,
    combine,
)
from nemotron.lineage.journal import database
from nemotron.lineage.journal.postgres import PostgresJournal, statements
from nemotron.lineage.journal.rowshelf import RowShelf
from nemotron.lineage.mirror.lease import Holder, Lease, leases_of
from nemotron.lineage.testing import publish

pytestmark = pytest.mark.postgres


@pytest.fixture
def address(server: PostgresServer) -> str:
    """The address of a store that is not made yet."""
    return server.address()


@pytest.fixture
def store(address: str) -> Iterator[Lineage]:
    with lineage.open(address) as store:
        yield store


@pytest.fixture
def wired(server: PostgresServer) -> Iterator[tuple[Lineage, Wire]]:
    """A store at the other end of a wire that a test may cut."""
    with server.wire() as (wire, folder), lineage.open(server.address(host=folder)) as store:
        yield store, wire


def _count(store: Lineage, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the questions, each one round trip, by how many statements they hold."""
    assert isinstance(store.journal, PostgresJournal)
    asked: list[int] = []
    real = store.journal._database._ask

    def count(
        statements: tuple[database.Statement, ...], cursors: list[Any]
    ) -> list[database.Rows]:
        asked.append(len(statements))
        return real(statements, cursors)

    monkeypatch.setattr(store.journal._database, "_ask", count)
    return asked


# -------------------------------------------------------------------- round trips


def test_publish_with_a_current_cache_takes_one_round_trip(
    store: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(publish(path="/1"))
    asked = _count(store, monkeypatch)
    assert store.commit(publish(path="/2")).version == ("model", 2)
    assert len(asked) == 1


def test_overtaken_publish_takes_two(
    store: Lineage, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(publish(path="/1"))
    elsewhere = PostgresJournal(address, waiting=str(tmp_path / "w"), cache=None)  # another host
    with Lineage(elsewhere) as other:
        other.commit(publish(path="/2"))
        other.commit(publish(path="/3"))
    asked = _count(store, monkeypatch)
    assert store.commit(publish(path="/4")).version == ("model", 4)
    assert len(asked) == 2


def test_waiting_records_are_found_by_the_append_and_taken_first(
    store: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(publish(path="/1"))
    store.journal.intakes.crowd({}).append(publish(path="/waited"))
    store.journal._news = None  # type: ignore[attr-defined]  # as another host's journal
    asked = _count(store, monkeypatch)
    assert store.commit(publish(path="/2")).version == ("model", 3)
    assert len(asked) == 2
    assert store.resolve("model:v2").address == "/waited"


def test_taken_rows_are_removed_with_the_commit(store: Lineage, server: PostgresServer) -> None:
    store.journal.intakes.crowd({}).append(publish())
    assert store.pending() == 1
    store.combine()
    assert store.pending() == 0
    schema = store.journal.address.rpartition("=")[2]
    assert server.sql(f"SELECT count(*) FROM {schema}.intake") == [(0,)]


def test_row_that_was_written_again_after_it_was_taken_changes_nothing(
    store: Lineage, server: PostgresServer
) -> None:
    schema = store.journal.address.rpartition("=")[2]
    store.journal.intakes.crowd({"host": "h"}).append(publish())
    server.sql(f"CREATE TABLE {schema}.again AS SELECT * FROM {schema}.intake")
    store.combine()
    assert store.pending() == 0
    server.sql(f"INSERT INTO {schema}.intake SELECT * FROM {schema}.again")
    assert [v.number for v in store.log("model")] == [1]
    assert store.commit(publish(path="/2")).version == ("model", 2)
    assert server.sql(f"SELECT count(*) FROM {schema}.intake") == [(0,)]


def test_hooks_write_files_and_never_wait_for_the_server(
    wired: tuple[Lineage, Wire], out: Path, tmp_path: Path
) -> None:
    store, wire = wired
    with store.run("train", intake=out) as beside, store.run("eval") as far:
        wire.go_dead()
        beside.record("model", path=out, type="model")
        far.record("eval", path=tmp_path, type="eval")
        assert list((out / ".lineage").glob("*.jsonl"))
        assert list((Path.home() / ".local/share/nemotron-lineage/waiting").rglob("*.jsonl"))
        wire.go_dead(dead=False)
        assert store.resolve("model").path == out
        assert store.resolve("eval").path == tmp_path


# ------------------------------------------------------------- lost and stuck


def test_lost_reply_of_a_commit_is_found_out(wired: tuple[Lineage, Wire]) -> None:
    store, wire = wired
    store.commit(publish(path="/1"))
    wire.lose_reply(b"WITH moved")
    assert store.commit(publish(path="/2")).version == ("model", 2)
    assert wire.lost == 1
    assert [v.address for v in store.log("model")] == ["/2", "/1"]
    assert audit.fsck(store).is_clean


def test_commit_whose_news_came_to_nothing_is_found_out(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server gives up on the second of two statements; the first is done."""
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=500ms")
    slow = iter(["SELECT 'head', 0, '', '' FROM pg_sleep(5)"])
    with lineage.open(address) as store:
        assert store.commit(publish(path="/1")).version == ("model", 1)
        real = store.journal.ask  # type: ignore[attr-defined]  # a PostgresJournal

        def ask(*statements: database.Statement, again: bool = True) -> list[database.Rows]:
            if len(statements) == 2 and (text := next(slow, None)):
                statements = (statements[0], (text, {}))
            rows: list[database.Rows] = real(*statements, again=again)
            return rows

        monkeypatch.setattr(store.journal, "ask", ask)
        assert store.commit(publish(path="/2")).version == ("model", 2)
        assert next(slow, None) is None  # it was asked
        assert [v.address for v in store.log("model")] == ["/2", "/1"]


def test_lost_reply_of_a_waiting_record_doubles_nothing(wired: tuple[Lineage, Wire]) -> None:
    store, wire = wired
    store.journal.head()
    writer = store.journal.intakes.crowd({})
    wire.lose_reply(b"INSERT INTO")
    writer.append(publish(path="/1"))
    writer.append(publish(path="/2"))
    assert wire.lost == 1
    assert [v.address for v in store.log("model")] == ["/2", "/1"]


def test_unreachable_server_costs_the_number_not_the_record(
    wired: tuple[Lineage, Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(combine, "_UNREACHABLE", 0.2)
    store, wire = wired
    store.commit(publish(path="/1"))
    wire.lose_reply(b"WITH moved")  # it arrives, and nobody can say so
    real, dead = wire.go_dead, []

    def die_after_the_loss() -> None:
        deadline = time.monotonic() + 10
        while not wire.lost and time.monotonic() < deadline:
            time.sleep(0.005)
        real()
        dead.append(True)

    import threading

    killer = threading.Thread(target=die_after_the_loss)
    killer.start()
    with pytest.raises(StoreBusy, match="safe in the intake") as busy:
        store.commit(publish(path="/arrived"))
    killer.join()
    assert dead
    with pytest.raises(StoreBusy, match="safe in the intake"):
        store.commit(publish(path="/did-not"))
    with pytest.raises(StoreUnreachable, match="does not answer"):
        store.resolve("model")
    wire.go_dead(dead=False)
    assert [v.address for v in store.log("model")] == ["/did-not", "/arrived", "/1"]
    assert store.facts("model:v2")[0].event == busy.value.record
    assert store.commit(publish(path="/after")).version == ("model", 4)
    assert audit.fsck(store).is_clean


def test_alias_that_cannot_be_moved_now_is_not_moved_later(
    wired: tuple[Lineage, Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(combine, "_UNREACHABLE", 0.2)
    store, wire = wired
    version = store.commit(publish()).version
    assert version is not None
    store.resolve("model")
    wire.go_dead()
    with pytest.raises(StoreUnreachable):
        store._move("model", "best", 1, lineage.ANY)
    wire.go_dead(dead=False)
    assert store.resolve("model").aliases == ()


def test_client_that_stops_inside_a_transaction_stops_nobody(
    address: str, store: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(publish(path="/1"))
    monkeypatch.setitem(database._OPTIONS, "idle_in_transaction_session_timeout", "300ms")
    stuck = database.Database(address)
    stuck.ask(("BEGIN", {}))
    stuck.ask(("UPDATE {schema}.journal SET recorded=recorded", {}))
    began = time.monotonic()
    assert store.commit(publish(path="/2")).version == ("model", 2)
    assert time.monotonic() - began < 5
    with pytest.raises(StoreUnreachable):
        stuck.ask(("COMMIT", {}), again=False)
    stuck.close()


def test_server_that_was_killed_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    with postgres_server(fsync=True) as server, lineage.open(server.address()) as store:
        for number in range(1, 21):
            store.commit(publish(path=f"/{number}"))
        server.stop("immediate")
        server.start()
        assert store.commit(publish(path="/21")).version == ("model", 21)
        assert audit.fsck(store).is_clean
        assert [v.number for v in store.log("model")] == list(range(21, 0, -1))


def test_server_without_a_free_connection_is_busy(
    server: PostgresServer, address: str, store: Lineage
) -> None:
    server.sql("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    with pytest.raises(StoreBusy, match="no more connections"):
        lineage.open(address.replace("user=postgres", "user=crowded"))


# -------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:hunter2@host/db",
        "postgresql://host/db?password=hunter2",
        "postgresql://host/db?sslpassword=hunter2",
    ],
)
def test_password_in_an_address_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(StoreUnsuitable, match="holds no password") as refused:
        lineage.open(address)
    assert "hunter2" not in str(refused.value)


def test_schema_that_is_no_name_is_refused() -> None:
    with pytest.raises(StoreUnsuitable, match="cannot be a schema"):
        lineage.open("postgresql:///db?schema=a;b")


def test_schemas_of_one_database_are_stores_of_their_own(server: PostgresServer) -> None:
    with lineage.open(server.address()) as one, lineage.open(server.address()) as other:
        one.commit(publish())
        assert one.journal.id != other.journal.id
        assert other.artifacts() == []


def test_store_that_is_not_there_is_not_made_for_reading(address: str) -> None:
    with pytest.raises(StoreNotFoundError, match="there is no store"):
        lineage.open(address, create=False)


def test_database_that_is_not_there_is_named(address: str) -> None:
    with pytest.raises(StoreNotFoundError, match="no such database"):
        lineage.open(address.replace("///postgres", "///nope"))


def test_host_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="does not answer"):
        lineage.open(f"postgresql:///postgres?host={tmp_path}")


# ------------------------------------------------------------------------- roles


def test_writer_appends_and_can_change_nothing(server: PostgresServer, address: str) -> None:
    schema = address.rpartition("=")[2]
    server.sql(f"CREATE ROLE writer_{schema} LOGIN")
    server.sql(f"CREATE ROLE reader_{schema} LOGIN")
    for statement in statements(address, writer=f"writer_{schema}", reader=f"reader_{schema}"):
        server.sql(statement)
    with lineage.open(address.replace("user=postgres", f"user=writer_{schema}")) as store:
        store.commit(publish(path="/1", metadata={"note": "x"}))
        store.journal.intakes.crowd({}).append(publish(path="/2"))
        assert store.resolve("model").number == 2
        with pytest.raises(StoreReadOnly, match="ask the store's owner"):
            audit.redact(store, "model:v1", "leak")
    import psycopg

    for statement in (
        f"UPDATE {schema}.commits SET text='x'", f"DELETE FROM {schema}.commits",
        f"UPDATE {schema}.journal SET id='x'", f"DELETE FROM {schema}.journal",
        f"DROP TABLE {schema}.commits", f"CREATE TABLE {schema}.mine(a int)",
    ):  # fmt: skip
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            server.sql(statement, user=f"writer_{schema}")
    with lineage.open(address.replace("user=postgres", f"user=reader_{schema}")) as store:
        assert store.journal.read_only
        assert store.resolve("model:v1").metadata == {"note": "x"}
        with pytest.raises(StoreReadOnly):
            store.commit(publish(path="/3"))
    with lineage.open(address) as store:
        assert audit.fsck(store).is_clean
        assert audit.redact(store, "model:v1", "leak") == 1
        assert audit.fsck(store).is_clean


def test_shelf_whose_name_is_removed_while_another_asks_for_it(store: Lineage) -> None:
    """Its owner removes a claim between another's refused insert and the look at whose it is."""
    assert isinstance(store.journal, PostgresJournal)
    journal = store.journal

    def ask(*statements: database.Statement, again: bool = True) -> list[database.Rows]:
        rows = journal.ask(*statements, again=again)
        if statements[0][0].lstrip().startswith("INSERT"):
            journal.shelf.remove(["pins/1.claim"])
        return rows

    journal.shelf.put_new("pins/1.claim", b"another's")
    with pytest.raises(FileExistsError, match=r"pins/1\.claim"):
        RowShelf("postgresql:", ask).put_new("pins/1.claim", b"ours")
    journal.shelf.put_new("pins/1.claim", b"ours")
    assert journal.shelf.read("pins/1.claim") == b"ours"


def test_shelf_shows_what_was_there_or_what_is_put_over_it(store: Lineage) -> None:
    assert isinstance(store.journal, PostgresJournal)
    journal, seen = store.journal, []
    contents = [b"a" * 3_000_000, b"b" * 5, b"", b"c" * 2_000_000]

    def ask(*statements: database.Statement, again: bool = True) -> list[database.Rows]:
        rows = journal.ask(*statements, again=again)
        seen.append(journal.shelf.read("mirrors/1"))  # between any two statements
        return rows

    journal.shelf.put_over("mirrors/1", b"first")
    for content in contents:
        RowShelf("postgresql:", ask).put_over("mirrors/1", content)
        assert journal.shelf.read("mirrors/1") == content
    assert set(seen) <= {b"first", *contents}


def test_lease_of_a_mirror_holds_for_all_hosts(store: Lineage) -> None:
    shelf = store.journal.shelf
    assert shelf is not None
    with Lease.take(shelf, leases_of("wandb"), "run:1") as lease:
        assert isinstance(lease, Lease)
        assert lease.is_mine
        lease.mark_busy()
        assert isinstance(Lease.take(shelf, leases_of("wandb"), "run:1"), Holder)
    following = Lease.take(shelf, leases_of("wandb"), "run:1")
    assert isinstance(following, Lease)
    assert (following.fence, lease.is_mine) == (2, False)
    following.release()
    assert len(shelf.names(leases_of("wandb"))) == 1
