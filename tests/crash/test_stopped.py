"""A holder that is stopped, and forks in the middle of everything."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import StoreBusy, audit, combine
from nemotron.lineage.testing import publish

from .conftest import Start

HOLD = """
import sys
import nemotron.lineage as lineage
store = lineage.open(sys.argv[1])
with store.journal.turn():
    print("in", flush=True)
    sys.stdin.read()
"""


def test_stopped_holder_of_a_sqlite_store_costs_the_number_not_the_record(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(combine, "GATE_TIMEOUT", 0.2)
    place = tmp_path / "lineage.db"
    with lineage.open(place) as store:
        store.commit(publish(path="/before"))
        holder = start(HOLD, place)
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        with pytest.raises(StoreBusy, match="safe in the intake") as busy:
            store.commit(publish(path="/during"))
        assert busy.value.record is not None
        assert store.pending() == 1
        holder.kill()  # a stopped process dies all the same, and holds nothing any more
        holder.wait()
        monkeypatch.undo()
        assert store.resolve("model").address == "/during"
        assert store.facts("model")[0].event == busy.value.record
        assert audit.fsck(store).is_clean


def test_what_a_stopped_holder_keeps_from_being_decided_is_not_done_later(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(combine, "GATE_TIMEOUT", 0.2)
    place = tmp_path / "lineage.db"
    with lineage.open(place) as store:
        store.commit(publish(path="/1", aliases=("prod",)))
        store.commit(publish(path="/2"))
        holder = start(HOLD, place)
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        for act in (
            lambda: store.alias("model:v2", "prod", expect=1),
            lambda: store.retire("model:v1", "old"),
        ):
            with pytest.raises(StoreBusy, match="nothing was written, do it again") as busy:
                act()
            assert busy.value.record is None
        holder.kill()
        holder.wait()
        monkeypatch.undo()
        assert store.pending() == 0
        assert store.resolve("model:prod").number == 1
        assert store.version("model:v1").state == "live"


def test_stopped_holder_of_a_directory_store_stops_nobody(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemotron.lineage.journal.projection._PATIENCE", 0.2)
    monkeypatch.setattr("nemotron.lineage.journal.shared.GATE_TIMEOUT", 0.2)
    monkeypatch.setattr(combine, "GATE_TIMEOUT", 0.2)
    place = tmp_path / "lineage"
    with lineage.open(place) as store:
        store.commit(publish(path="/before"))
        holder = start(HOLD, place)
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        assert store.commit(publish(path="/during")).version == ("model", 2)
        assert store.resolve("model").address == "/during"
        holder.send_signal(signal.SIGCONT)
        holder.communicate()
        assert store.commit(publish(path="/after")).version == ("model", 3)
        assert audit.fsck(store).is_clean


@pytest.mark.parametrize("address", ["lineage.db", "lineage"])
def test_fork_while_the_store_is_open_leaves_both_able_to_do_everything(
    tmp_path: Path, address: str, out: Path
) -> None:
    with lineage.open(tmp_path / address) as store, store.run("train") as run:
        run.publish("model", path=out, type="model")
        run.record("model", path=out, type="model")
        assert store.resolve("model").number == 1
        child = os.fork()
        if child == 0:
            status = 1
            try:
                here = out.parent / "child"
                here.mkdir()
                run.record("hooked", path=here, type="model")
                number = run.publish("model", path=here, type="model").number
                ok = store.resolve("model").path == here and store.resolve("hooked").number == 1
                status = 0 if ok and number in (2, 3) else 2
            finally:
                os._exit(status)
        there = out.parent / "parent"
        there.mkdir()
        run.publish("model", path=there, type="model")
        assert os.waitpid(child, 0)[1] == 0
        run.record("parents", path=there, type="model")
        assert {version.number for version in store.log("model")} == {1, 2, 3}
        assert store.resolve("parents").number == 1
        assert audit.fsck(store).is_clean


@pytest.mark.parametrize("address", ["lineage.db", "lineage"])
def test_child_that_ends_normally_does_not_disturb_its_parent(tmp_path: Path, address: str) -> None:
    with lineage.open(tmp_path / address) as store:
        store.commit(publish())
        for _ in range(3):
            child = os.fork()
            if child == 0:
                store.close()
                os._exit(0)
            os.waitpid(child, 0)
            store.commit(publish(path=f"/{child}"))
        assert audit.fsck(store).is_clean
        assert len(store.log("model")) == 4
