"""A host with an empty cache begins with a snapshot, and never trusts it ahead of the journal."""

from __future__ import annotations

import json
import logging
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import FAR

from nemotron import lineage
from nemotron.lineage import Input, Lineage, StoreUnsuitable, audit, snapshots
from nemotron.lineage import events as ev
from nemotron.lineage.cli.main import main as command
from nemotron.lineage.commits import Commit
from nemotron.lineage.index import glance as glancing
from nemotron.lineage.index import pages
from nemotron.lineage.index.project import Index
from nemotron.lineage.journal import projection
from nemotron.lineage.journal.base import Journal
from nemotron.lineage.journal.rowshelf import RowShelf
from nemotron.lineage.journal.snapshots import Note, Snapshots
from nemotron.lineage.model import VersionId
from nemotron.lineage.shelf import Shelf
from nemotron.lineage.snapshots import is_due, make_snapshots
from nemotron.lineage.testing import publish
from nemotron.lineage.upkeep import main

AddressOf = Callable[[str, str], str]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots are looked for from ten commits on, and their pages hold a few rows."""
    for module in (projection, glancing):
        monkeypatch.setattr(module, "_WORTH", 10)
    monkeypatch.setattr(pages, "_PAGE", 500)


@pytest.fixture(params=["directory", *FAR])
def address(request: pytest.FixtureRequest, address_of: AddressOf) -> str:
    return address_of(request.param, "lineage")


@pytest.fixture
def folder(address_of: AddressOf) -> str:
    return address_of("directory", "lineage")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of the commits that were read and verified."""
    numbers: list[int] = []
    real = Commit.read.__func__  # type: ignore[attr-defined]  # a class method

    def note(cls: type[Commit], text: str, *, number: int) -> Commit:
        numbers.append(number)
        commit: Commit = real(cls, text, number=number)
        return commit

    monkeypatch.setattr(Commit, "read", classmethod(note))
    return numbers


class NewHost:
    """Opens stores as a host that was never here before: its caches lie elsewhere."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self._patch, self._root, self._count = monkeypatch, tmp_path, 0

    def open(self, address: str) -> Lineage:
        self._count += 1
        self._patch.setenv("XDG_CACHE_HOME", str(self._root / f"cache-{self._count}"))
        for path in self._root.rglob("cache"):  # of a folder on a local disk
            path.rename(path.with_name(f"cache-of-host-{self._count}"))
            (path.parent / f"cache-of-host-{self._count}").rename(
                self._root / f"old-cache-{self._count}"
            )
        return lineage.open(address)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> NewHost:
    return NewHost(monkeypatch, tmp_path)


def _fill(store: Lineage, first: int, last: int) -> None:
    for number in range(first, last + 1):
        name = f"model-{number % 3}"
        aliases = ("best",) if number % 5 == 0 else ()
        store.commit(publish(name=name, path=f"/{number}", metadata={"n": number}, aliases=aliases))


def _change(store: Lineage) -> None:
    """Do to versions of before whatever can be done to one."""
    store.commit(ev.Described(version=VersionId("model-0", 3), metadata={"eval": 0.5}))
    store.commit(ev.Sealed(version=VersionId("model-0", 4), digest="sha256:" + "a" * 64, size=1,
                           files=1))  # fmt: skip
    store.commit(ev.AliasMoved(name="model-1", alias="best", to=1, by="ana"))
    store.commit(ev.Deleted(version=VersionId("model-2", store.log("model-2")[0].number)))


REFERENCES = [
    "model-0", "model-0:best", "model-0:v3", "model-0:v4", "model-1:best", "model-1", "model-2",
    "model-2:v2", "model-2:best",
]  # fmt: skip


def test_new_host_resolves_from_a_page_and_the_commits_since(
    address: str, host: NewHost, read: list[int]
) -> None:
    with lineage.open(address) as store:
        _fill(store, 1, 40)
        make_snapshots(store.journal)
        _fill(store, 41, 43)
        _change(store)
        expected = {reference: store.resolve(reference) for reference in REFERENCES}
        head = store.journal.head().number
    for reference in REFERENCES:
        with host.open(address) as store:
            read.clear()
            assert store.resolve(reference) == expected[reference]
            assert min(read) >= 40, "commits before the snapshot were read"
            assert len(read) <= head - 40 + 3
            assert store.position()["index"] == 0, "the whole index was made for one reference"


def test_new_host_begins_index_and_ledger_with_the_snapshot(
    address: str, host: NewHost, read: list[int]
) -> None:
    with lineage.open(address) as store:
        _fill(store, 1, 40)
        make_snapshots(store.journal)
        _fill(store, 41, 43)
        expected = [str(node) for node in store.lineage().nodes()]
    with host.open(address) as store:
        read.clear()
        assert [str(node) for node in store.lineage().nodes()] == expected
        assert store.commit(publish(name="model-0", path="/new")).version == ("model-0", 15)
        assert min(read) >= 40
        report = audit.fsck(store)
        assert report.is_clean, report.damage


def test_version_that_a_later_one_was_made_from_is_still_found_at_once(
    folder: str, host: NewHost
) -> None:
    with lineage.open(folder) as store:
        _fill(store, 1, 40)
        make_snapshots(store.journal)
        before = Input(target=VersionId("model-0", 3), role="init")
        store.commit(publish(name="model-0", path="/41", inputs=(before,)))
        expected = store.resolve("model-0:v3")
    with host.open(folder) as store:
        assert store.resolve("model-0:v3") == expected
        assert store.position()["index"] == 0


def test_records_that_wait_are_in_the_answer(address: str, host: NewHost, out: Path) -> None:
    with lineage.open(address) as store:
        _fill(store, 1, 40)
        with store.run("train", intake=out) as run:
            make_snapshots(store.journal)
            run.record("model-0", path=out, type="model")
            with host.open(address) as reader:
                assert reader.resolve("model-0").path == out


def test_what_is_not_there_is_told_as_ever(address: str, host: NewHost) -> None:
    with lineage.open(address) as store:
        _fill(store, 1, 40)
        make_snapshots(store.journal)
    for reference, said in (
        ("model-9", "did you mean"), ("model-0:v99", "newest is v13"), ("model-0:bset", "best"),
    ):  # fmt: skip
        with host.open(address) as store, pytest.raises(KeyError, match=said):
            store.resolve(reference)


def _put(journal: Journal, note: Note) -> None:
    assert journal.shelf is not None
    journal.shelf.put_over(f"{note.content.removesuffix('.db')}.json", note.write())


def test_snapshot_ahead_of_the_journal_or_of_another_history_is_passed_over(
    folder: str, host: NewHost, caplog: pytest.LogCaptureFixture
) -> None:
    with lineage.open(folder) as store:
        _fill(store, 1, 20)
        for note in make_snapshots(store.journal):
            _put(store.journal, replace(note, head=note.head._replace(hash="f" * 64)))
    with host.open(folder) as store, caplog.at_level(logging.WARNING):
        assert store.resolve("model-0").number == 6
        assert store.resolve("model-1").number == 7
    assert "of another history and passed over" in caplog.text
    with lineage.open(folder) as store:
        for note in make_snapshots(store.journal):
            ahead = note.content.replace("000000000020", "000000000099")
            _put(store.journal, replace(note, head=note.head._replace(number=99), content=ahead))
    with host.open(folder) as store:
        assert store.resolve("model-0").number == 6


@pytest.mark.parametrize("suffix", [".db", ".json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damaged_snapshot_is_passed_over(
    folder: str, host: NewHost, suffix: str, damage: str
) -> None:
    with lineage.open(folder) as store:
        _fill(store, 1, 40)
        make_snapshots(store.journal)
        expected = store.resolve("model-0")
    draw = random.Random(7)
    for path in (Path(folder) / "snapshots").iterdir():
        if path.suffix == suffix:
            data = bytearray(path.read_bytes())
            if damage == "flipped":
                for at in range(0, len(data), 200):
                    data[at + draw.randrange(min(200, len(data) - at))] ^= 1
            path.write_bytes(data[: len(data) // 2] if damage == "cut" else data)
            if damage == "gone":
                path.unlink()
    with host.open(folder) as store:
        assert store.resolve("model-0") == expected
        assert [v.number for v in store.log("model-0")] == list(range(13, 0, -1))
        assert audit.fsck(store).is_clean


def test_damaged_index_is_made_anew_from_the_snapshot(folder: str, read: list[int]) -> None:
    with lineage.open(folder) as store:
        _fill(store, 1, 40)
        expected = store.log("model-0")
        make_snapshots(store.journal)
        index = Path(store.position()["index file"])
    index.write_bytes(b"\0" * 5000)
    with lineage.open(folder) as store:
        read.clear()
        assert store.log("model-0") == expected
        assert min(read) >= 40


def test_refresh_reads_the_new_commit_alone(address: str, host: NewHost, read: list[int]) -> None:
    with lineage.open(address) as store:
        _fill(store, 1, 40)
        with host.open(address) as reader:
            reader.log("model-0")
            _fill(store, 41, 41)
            read.clear()
            assert reader.log("model-2")[0].address == "/41"
            assert set(read) == {41}


def test_only_the_newest_snapshots_are_kept(address: str) -> None:
    with lineage.open(address) as store:
        for last in (20, 25, 30, 35):
            _fill(store, len(list(store.journal.read())) + 1, last)
            make_snapshots(store.journal)
        assert store.journal.shelf is not None
        names = store.journal.shelf.names("snapshots")
    assert len(names) == 2 * 3 * 2
    assert {name.split("-")[2] for name in names} == {f"{30:012d}", f"{35:012d}"}


def test_content_that_somebody_died_over_is_removed_by_the_next(address: str) -> None:
    with lineage.open(address) as store:
        _fill(store, 1, 20)
        shelf = store.journal.shelf
        assert shelf is not None
        shelf.put_over("snapshots/index-2-000000000010-left.db", b"x")
        shelf.put_over("snapshots/index-2-000000000099-now.db", b"somebody is at it")
        make_snapshots(store.journal)
        names = shelf.names("snapshots")
        assert "index-2-000000000010-left.db" not in names
        assert "index-2-000000000099-now.db" in names


def test_copy_into_a_folder_that_somebody_died_over_is_removed_by_the_next(folder: str) -> None:
    with lineage.open(folder) as store:
        _fill(store, 1, 3)
        make_snapshots(store.journal)
        left, fresh = (Path(folder) / "snapshots" / f".new-{name}" for name in ("left", "fresh"))
        for path in (left, fresh):
            path.write_bytes(b"x")
        os.utime(left, (0, 0))
        make_snapshots(store.journal)
    assert not left.exists()
    assert fresh.exists()  # somebody is at it


@pytest.mark.postgres
def test_rows_that_somebody_died_over_are_removed_by_the_next(
    address_of: AddressOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large").write_bytes(b"x" * 3_000_000)
    with lineage.open(address_of("postgres", "lineage")) as store:
        _fill(store, 1, 20)
        shelf = store.journal.shelf
        assert isinstance(shelf, RowShelf)
        real = shelf._ask

        def die_at_the_first_part(*statements: Any, again: bool = True) -> Any:
            if statements[0][1].get("part") == 0:
                raise KeyboardInterrupt
            return real(*statements, again=again)

        with monkeypatch.context() as patch:
            patch.setattr(shelf, "_ask", die_at_the_first_part)
            with pytest.raises(KeyboardInterrupt):
                shelf.send(str(tmp_path / "large"), "snapshots/index-2-000000000010-left.db")
        assert shelf.names("snapshots") == []
        assert shelf.names("snapshots", whole=False) == ["index-2-000000000010-left.db"]
        make_snapshots(store.journal)
        assert shelf.names("snapshots", whole=False) == shelf.names("snapshots")


def test_snapshot_that_a_redaction_removes_while_it_is_put_is_no_fault(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lineage.open(folder) as store:
        _fill(store, 1, 3)
        journal = store.journal
        assert journal.shelf is not None
        real = type(journal.shelf).put_new

        def put_and_lose(shelf: Shelf, name: str, data: bytes) -> None:
            real(shelf, name, data)
            Snapshots(journal).remove_all()
            real(shelf, name.replace(".json", "-of-another-host.db"), b"on its way")

        monkeypatch.setattr(type(journal.shelf), "put_new", put_and_lose)
        assert len(make_snapshots(journal)) == 3
        assert not [name for name in journal.shelf.names("snapshots") if name.endswith(".json")]


def test_redaction_removes_snapshots_and_none_is_made_while_it_may_be_under_way(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lineage.open(folder) as store:
        _fill(store, 1, 20)
        store.commit(publish(path="/secret", metadata={"note": "planted"}))
        make_snapshots(store.journal)
        audit.redact(store, "model:v1", "a name")
        assert list((Path(folder) / "snapshots").iterdir()) == []
        assert make_snapshots(store.journal) == []


def test_snapshot_of_a_host_that_took_the_redacted_text_does_not_hold_it(
    folder: str, host: NewHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lineage.open(folder) as store:
        _fill(store, 1, 20)
        store.commit(publish(path="/secret", metadata={"note": "planted"}))
        with host.open(folder) as other:
            other.log("model")
            audit.redact(other, "model:v1", "a name")
        # this one's index is as before, and it makes the snapshot
        monkeypatch.setattr(snapshots, "_recent", lambda *_: False)
        assert make_snapshots(store.journal)
    for path in (Path(folder) / "snapshots").iterdir():
        assert b"planted" not in path.read_bytes()


def test_snapshot_is_due_after_so_many_commits_and_made_once(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "_FEWEST", 20)
    with lineage.open(folder) as store:
        _fill(store, 1, 19)
        assert not is_due(store.journal, 19)
        _fill(store, 20, 21)
        assert is_due(store.journal, 21)
        assert main([folder], wait=0) == 0
        assert not is_due(store.journal, 21)
        assert Snapshots(store.journal).number(pages.LOOKUP_TABLES) == 21
        assert main([folder], wait=0) == 0
        assert len(list((Path(folder) / "snapshots").iterdir())) == 6


def test_reader_that_notices_has_another_process_make_it(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(snapshots, "start", lambda *words: started.append(words))
    monkeypatch.setattr(snapshots, "_FEWEST", 20)
    with lineage.open(folder) as store:
        _fill(store, 1, 20)
        store.log("model-0")
        store.log("model-0")
        assert started == [("upkeep", store.journal.address)]


def test_index_is_never_older_than_what_a_host_has(folder: str, host: NewHost) -> None:
    with lineage.open(folder) as store:
        _fill(store, 1, 40)
        make_snapshots(store.journal)
        _fill(store, 41, 50)
        with host.open(folder) as late:
            index = Index(late.journal)
            assert index.catch_up().number == 50
            index.close()


def test_store_of_one_host_needs_none(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "s.db") as store:
        with pytest.raises(StoreUnsuitable, match="needs no snapshots"):
            make_snapshots(store.journal)
        assert not is_due(store.journal, 10**9)


def test_leftovers_of_killed_processes_are_removed(folder: str) -> None:
    import os

    with lineage.open(folder) as store:
        _fill(store, 1, 20)
        cache = Path(store.journal.cache or "")
        left = cache / "snapshot-left"
        left.mkdir()
        with sqlite3.connect(left / "index"):
            pass
        os.utime(left, (0, 0))
        make_snapshots(store.journal)
        assert not left.exists()


def test_command_makes_one_and_says_when_it_does_not(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with lineage.open(folder) as store:
        store.commit(publish(path="/1", metadata={"note": "planted"}))
    assert command(["snapshot", "--store", folder, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert [each["tables"] for each in made] == ["ledger-1", "index-2", "lookup-1"]
    with lineage.open(folder) as store:
        audit.redact(store, "model:v1", "a name")
    assert command(["snapshot", "--store", folder]) == 0
    assert "redacted within the hour" in capsys.readouterr().out
    lineage.open(tmp_path / "s.db").close()
    assert command(["snapshot", "--store", str(tmp_path / "s.db")]) != 0
    assert "needs no snapshots" in capsys.readouterr().err
