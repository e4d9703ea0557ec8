"""A journal is copied and moved between any two kinds: the same numbers, hashes and times."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import (
    Conflict,
    Lineage,
    StoreBusy,
    StoreError,
    StoreReadOnly,
    StoreUnsuitable,
    audit,
    claim_name,
)
from nemotron.lineage.copying import Copied, copy_journal
from nemotron.lineage.journal import base, numbered
from nemotron.lineage.journal.kinds import open_journal
from nemotron.lineage.journal.numbered import NumberedJournal
from nemotron.lineage.merging import merge
from nemotron.lineage.recovery import recover
from nemotron.lineage.testing import publish

KINDS = ["sqlite", "directory", "objects", "postgres"]
PAIRS = [
    pytest.param(*pair, marks=[pytest.mark.postgres] if "postgres" in pair else [])
    for pair in itertools.product(KINDS, KINDS)
]
LASTING = [pytest.param(k, marks=[pytest.mark.postgres] if k == "postgres" else []) for k in KINDS]
AddressOf = Callable[[str, str], str]


def _fill(store: Lineage) -> None:
    with store.run("prep") as run:
        run.use("hf://org/raw")
        run.publish("data", path="s3://b/data", type="dataset", aliases=["best"])
    with store.run("train") as run:
        run.use("data:best")
        for number in range(5):
            run.publish("model", path=f"s3://b/{number}", type="model", metadata={"n": number})
    store.retire("model:v2", "too old")
    audit.redact(store, "model:v3", "a name")


def _copy(source: str, target: str, *, end: bool = False) -> Copied:
    with (
        closing(open_journal(source, create=False)) as there,
        closing(open_journal(target, adopting=True)) as here,
    ):
        return copy_journal(there, here, end=end)


def _id(address: str) -> str:
    with lineage.open(address) as store:
        return store.journal.id


def _answers(store: Lineage) -> object:
    return (
        [(str(v.uri), v.state, dict(v.metadata), v.recorded, v.occurred) for a in store.artifacts()
         for v in store.log(a.name)],
        [(r.id, r.name, r.status, r.started) for r in store.runs()],
        sorted(str(node) for node in store.lineage().nodes()),
    )  # fmt: skip


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_copy_is_the_same_history_and_both_go_on(
    source: str, target: str, address_of: AddressOf
) -> None:
    old, new = address_of(source, "old"), address_of(target, "new")
    with lineage.open(old) as store:
        _fill(store)
        commits = [(c.number, c.hash, c.recorded, c.text) for c in store.journal.read()]
        answers = _answers(store)
    copied = _copy(old, new)
    assert (copied.commits, copied.new, copied.ended) == (len(commits), len(commits), False)
    with lineage.open(new) as store, lineage.open(old) as before:
        kept = [(c.number, c.hash, c.recorded, c.text) for c in store.journal.read()]
        assert kept[:-1] == commits
        assert _answers(store) == answers == _answers(before)
        assert store.journal.id != before.journal.id
        assert store.journal.is_ours(before.journal.id)
        assert not before.journal.is_ours(store.journal.id)
        assert store.commit(publish(path="/new")).version == ("model", 6)
        assert before.commit(publish(path="/old")).version == ("model", 6)
        for each in (store, before):
            report = audit.fsck(each)
            assert report.is_clean, report.damage
            assert report.redacted == 1


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_moved_store_ends_and_says_where_it_goes_on(
    source: str, target: str, address_of: AddressOf, out: Path
) -> None:
    old, new = address_of(source, "old"), address_of(target, "new")
    with lineage.open(old) as store:
        _fill(store)
        run = store.run("later", intake=out)
        run.record("hooked", path=out, type="model")
        assert _copy(old, new, end=True).ended
        run.record("after", path=out, type="model")  # a hook that was never told
        with pytest.raises(StoreError, match=r"ended and goes on as .*; open that one") as ended:
            store.commit(publish(path="/late"))
        assert new.removeprefix("sqlite:///") in str(ended.value)
        assert store.resolve("model").number == 5
    with lineage.open(new) as store:
        assert store.resolve("hooked").path == out
        assert store.resolve("after").path == out
        assert store.commit(publish(path="/new")).version == ("model", 6)
        report = audit.fsck(store)
        assert report.is_clean, report.damage


def test_record_in_the_old_intake_is_brought_into_the_new_store(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "old") as store, store.run("train") as run:
        run.record("before", path=tmp_path, type="model")
        _copy(str(tmp_path / "old"), str(tmp_path / "new.db"), end=True)
        run.record("after", path=tmp_path, type="model")
    with lineage.open(tmp_path / "new.db") as moved:
        assert [a.name for a in moved.artifacts()] == ["before"]
        assert moved.runs()[0].status == "running"
        assert recover(moved, [str(tmp_path / "old" / "intake")]).taken == 2
        assert [a.name for a in moved.artifacts()] == ["after", "before"]
        assert moved.runs()[0].status == "ok"
        assert audit.fsck(moved).is_clean


@pytest.mark.parametrize("kind", LASTING)
def test_record_that_an_ended_store_keeps_is_brought_into_its_successor(
    kind: str, address_of: AddressOf
) -> None:
    old, new = address_of(kind, "old"), address_of("sqlite", "new")
    with lineage.open(old) as store:
        _fill(store)
        _copy(old, new, end=True)
        with pytest.raises(StoreBusy, match=r"Try: lineage recover \S+ --store sqlite:") as told:
            store.commit(publish(path="/late"))
        (waiting,) = store.waiting()
        assert waiting.obstacle == f"the store ended and goes on as journal {_id(new)}"
    assert told.value.record is not None
    with lineage.open(new) as moved:
        assert sum(each.records for each in recover(moved, [old], dry=True).found) == 1
        assert recover(moved, [old]).taken == 1
        assert recover(moved, [old]).taken == 0
        assert moved.resolve("model:v6").address == "/late"
        assert [v.number for v in moved.log("model")] == [6, 5, 4, 3, 2, 1]
        assert audit.fsck(moved).is_clean


def test_records_of_a_store_that_goes_on_by_itself_are_left_to_it(tmp_path: Path) -> None:
    for name in ("old", "other"):
        with lineage.open(tmp_path / name) as store:
            _fill(store)
    _copy(str(tmp_path / "old"), str(tmp_path / "new"))
    with lineage.open(tmp_path / "new") as copy:
        for name in ("old", "other"):
            with pytest.raises(Conflict, match=r"does not go on as .*, and keeps its records"):
                recover(copy, [str(tmp_path / name)])


@pytest.mark.parametrize("target", ["sqlite", "directory", "objects"])
@pytest.mark.parametrize("act", ["copy", "move"])
def test_copy_that_was_cut_off_goes_on(
    target: str, act: str, address_of: AddressOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = act == "move"
    old, new = address_of("directory", "old"), address_of(target, "new")
    with lineage.open(old) as store:
        _fill(store)
    with monkeypatch.context() as patch:
        patch.setattr("nemotron.lineage.copying._Copy._declare", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            _copy(old, new, end=end)
    if target != "sqlite":
        with pytest.raises(StoreUnsuitable, match="is being made as a copy"):
            lineage.open(new)
    copied = _copy(old, new, end=end)
    assert copied.new == 0
    assert copied.ended is end
    with lineage.open(new) as store:
        report = audit.fsck(store)
        assert report.is_clean, report.damage
        assert store.commit(publish(path="/new")).version == ("model", 6)


@pytest.mark.parametrize("target", ["directory", "objects"])
@pytest.mark.parametrize("act", ["copy", "move"])
def test_copy_that_was_cut_off_after_its_declaration_is_opened(
    target: str, act: str, address_of: AddressOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = act == "move"
    old, new = address_of("directory", "old"), address_of(target, "new")
    with lineage.open(old) as store:
        _fill(store)
    with monkeypatch.context() as patch:
        patch.setattr(NumberedJournal, "finish", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            _copy(old, new, end=end)
    copied = _copy(old, new, end=end)
    assert (copied.new, copied.ended) == (0, end)
    with lineage.open(new) as store:
        assert audit.fsck(store).is_clean
        assert store.commit(publish(path="/new")).version == ("model", 6)


def test_copy_that_was_declared_is_not_made_a_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    with lineage.open(old) as store:
        _fill(store)
        with monkeypatch.context() as patch:
            patch.setattr(NumberedJournal, "finish", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                _copy(old, new)
        with pytest.raises(Conflict, match=r"is a copy of commits 1 to .* already"):
            _copy(old, new, end=True)
        for each in (old, new):
            with lineage.open(each) as one:
                assert one.commit(publish(path="/new")).version == ("model", 6)


@pytest.mark.parametrize("target", ["directory", "objects"])
def test_copy_in_several_goes_while_the_source_grows(
    target: str, address_of: AddressOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "BATCH", 10)
    monkeypatch.setattr(numbered, "BATCH", 10)
    old, new = address_of("sqlite", "old"), address_of(target, "new")
    with lineage.open(old) as store:
        for number in range(1, 6):
            store.commit(publish(path=f"/{number}"))
        with monkeypatch.context() as patch:
            patch.setattr("nemotron.lineage.copying._Copy._declare", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                _copy(old, new)
        for number in range(6, 26):
            store.commit(publish(path=f"/{number}"))
    assert _copy(old, new).commits == 25
    with lineage.open(new) as store:
        assert [v.number for v in store.log("model")] == list(range(25, 0, -1))
        assert store.commit(publish(path="/new")).version == ("model", 26)
        report = audit.fsck(store)
        assert report.is_clean, report.damage


@pytest.mark.parametrize("kind", ["sqlite", "directory"])
@pytest.mark.parametrize("act", ["copy", "move"])
def test_store_is_not_copied_onto_itself(kind: str, act: str, address_of: AddressOf) -> None:
    address = address_of(kind, "lineage")
    with lineage.open(address) as store:
        _fill(store)
        with pytest.raises(Conflict, match="are one store; name an empty place"):
            _copy(address, address, end=act == "move")
        assert store.commit(publish(path="/new")).version == ("model", 6)
        assert audit.fsck(store).is_clean


def test_store_is_not_moved_into_memory(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "lineage.db") as store:
        _fill(store)
        with pytest.raises(StoreUnsuitable, match="is gone when this process ends"):
            _copy(str(tmp_path / "lineage.db"), "memory:", end=True)
        assert store.commit(publish(path="/new")).version == ("model", 6)


def test_read_only_store_is_copied_and_not_ended(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "old") as store:
        _fill(store)
    with (
        closing(open_journal(str(tmp_path / "old"), create=False)) as there,
        closing(open_journal(str(tmp_path / "new.db"))) as here,
    ):
        there.read_only = True
        with pytest.raises(StoreReadOnly, match="cannot be ended; ask its owner, or use"):
            copy_journal(there, here, end=True)
        assert here.head().number == 0
        assert copy_journal(there, here).ended is False


def test_unfinished_copy_is_named_by_fsck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lineage.open(tmp_path / "old") as store:
        _fill(store)
    with monkeypatch.context() as patch:
        patch.setattr("nemotron.lineage.copying._Copy._declare", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            _copy(str(tmp_path / "old"), str(tmp_path / "new.db"))
    with lineage.open(tmp_path / "new.db") as store:
        (sentence,) = audit.fsck(store).damage
    assert "was cut off before it was declared. Try: lineage copy" in sentence


def test_copy_into_another_history_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with lineage.open(tmp_path / name) as store:
            _fill(store)
    with pytest.raises(Conflict, match="holds another history"):
        _copy(str(tmp_path / "a"), str(tmp_path / "b"))


def test_second_copy_to_a_place_is_sent_to_another(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "a") as store:
        _fill(store)
        _copy(str(tmp_path / "a"), str(tmp_path / "b"))
        store.commit(publish(path="/more"))
    with pytest.raises(Conflict, match=r"is a copy of commits 1 to .* empty place"):
        _copy(str(tmp_path / "a"), str(tmp_path / "b"))


def test_ended_store_has_one_successor(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "a") as store:
        _fill(store)
    _copy(str(tmp_path / "a"), str(tmp_path / "b"), end=True)
    with pytest.raises(StoreError, match=r"ended and goes on as file://.*/b; copy that one"):
        _copy(str(tmp_path / "a"), str(tmp_path / "c"))


def test_moved_store_knows_who_has_which_name(tmp_path: Path) -> None:
    """Else the hook of another folder might be first there, and have the name of this one."""
    old, new = str(tmp_path / "old"), str(tmp_path / "new.db")
    with lineage.open(old) as store:
        _fill(store)
    assert claim_name("sft", "/out/a", store=old) == "/out/a"
    _copy(old, new, end=True)
    assert claim_name("sft", "/out/b", store=new) == "/out/a"


def test_what_an_ended_store_leaves_for_the_next_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with lineage.open(tmp_path / "a") as store:
        _fill(store)
        _copy(str(tmp_path / "a"), str(tmp_path / "b"), end=True)
        with pytest.raises(StoreError, match="is safe in the intake"):
            store.commit(publish(path="/late"))
        for _ in range(3):
            store.log("model")
    assert caplog.text.count("records are left for a newer release or store") == 1


def test_copy_of_a_copy_and_of_an_empty_store(tmp_path: Path) -> None:
    lineage.open(tmp_path / "a").close()
    for source, target in itertools.pairwise(["a", "b.db", "c", "d.db"]):
        _copy(str(tmp_path / source), str(tmp_path / target))
        with lineage.open(tmp_path / target) as store:
            store.commit(publish(path=f"/{target}"))
            report = audit.fsck(store)
            assert report.is_clean, report.damage
    with lineage.open(tmp_path / "d.db") as store:
        assert [v.number for v in store.log("model")] == [3, 2, 1]
        assert len(store.journal.owners()) == 3


def test_store_is_moved_however_busy_its_writers_are(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "a") as store:
        store.commit(publish(path="/0"))
        told: list[object] = []
        has_ended = threading.Event()

        def work() -> None:
            for number in itertools.count(1):
                try:
                    told.append(store.commit(publish(path=f"/{number}")).version)
                except StoreError:
                    has_ended.set()
                    return

        writer = threading.Thread(target=work, daemon=True)
        writer.start()
        _copy(str(tmp_path / "a"), str(tmp_path / "b"), end=True)
        assert has_ended.wait(60)
        with lineage.open(tmp_path / "b") as moved:
            assert {v.id for v in moved.log("model")} >= set(told)
            assert audit.fsck(moved).is_clean
        with pytest.raises(StoreError, match="ended and goes on as"):
            _copy(str(tmp_path / "a"), str(tmp_path / "c"))


def test_whole_store_travels_as_one_file(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "here") as store:
        _fill(store)
    _copy(str(tmp_path / "here"), str(tmp_path / "transfer.db"))
    carried = tmp_path / "elsewhere" / "carried.db"
    carried.parent.mkdir()
    carried.write_bytes((tmp_path / "transfer.db").read_bytes())  # this one file and no other
    _copy(str(carried), str(tmp_path / "there"))
    with lineage.open(tmp_path / "there") as store:
        assert store.resolve("model").number == 5
        assert audit.fsck(store).is_clean


def test_news_of_a_store_travel_in_the_next_file(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for trip in (1, 2):
        with lineage.open(here) as store:
            if trip == 1:
                _fill(store)
            store.commit(publish(path=f"/trip/{trip}"))
        _copy(str(here), str(tmp_path / f"transfer-{trip}.db"))
        carried = tmp_path / f"elsewhere-{trip}" / "carried.db"
        carried.parent.mkdir()
        carried.write_bytes((tmp_path / f"transfer-{trip}.db").read_bytes())
        with lineage.open(there) as ours, lineage.open(carried) as theirs:
            report = merge(ours, theirs, "site-a")
            assert report.conflicts == []
            assert ours.resolve("site-a/model").address == f"/trip/{trip}"
            assert merge(ours, theirs, "site-a").changed == 0
            assert audit.fsck(ours).is_clean
    with lineage.open(there) as ours:
        assert [v.number for v in ours.log("site-a/model")] == [7, 6, 5, 4, 3, 2, 1]
