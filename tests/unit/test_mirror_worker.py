"""What goes to one server waits for no other, and what fails is tried again, listed or raised."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from errno import EACCES, EROFS
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nemotron import lineage
from nemotron.lineage import Lineage, LiveMirror, MirrorUnready, StoreReadOnly, VersionId
from nemotron.lineage.commits import Entry
from nemotron.lineage.events import Published
from nemotron.lineage.index import queries
from nemotron.lineage.mirror.base import Desk, Due, Mirror, Refused, Retry
from nemotron.lineage.mirror.content import Draft, of_version
from nemotron.lineage.mirror.lease import Lease
from nemotron.lineage.mirror.worker import Worker
from nemotron.lineage.shelf import FolderShelf


class Boxes(Mirror):
    """Servers that are boxes; which one a run goes to is what its link says."""

    name = "boxes"

    def __init__(self) -> None:
        self.boxes: dict[str, list[str]] = {}
        self.faults: dict[str, Exception] = {}
        self.end: Exception | None = None
        self.stuck = ""  # versions of this name are never taken
        self.tried: list[str] = []

    def concerns(self, entry: Entry, producer: Callable[[VersionId], str | None]) -> Iterable[Due]:
        if isinstance(entry.event, Published):
            yield Due(str(entry.event.version), entry.event.run or "")

    def covers(self, run: str, link: Mapping[str, Any] | None) -> bool:
        return True

    def where(self, link: Mapping[str, Any] | None) -> str:
        return str((link or {})["box"])

    def check(self, link: Mapping[str, Any] | None) -> None:
        fault = self.faults.get(self.where(link))
        if fault is not None:
            raise fault

    @contextmanager
    def opening(
        self, run: str, link: Mapping[str, Any] | None, store: Lineage, lease: Lease
    ) -> Iterator[Desk]:
        yield _Box(self, self.boxes.setdefault(self.where(link), []))
        if self.end is not None:
            raise self.end


class _Box(Desk):
    def __init__(self, mirror: Boxes, box: list[str]) -> None:
        self._mirror, self._box = mirror, box

    def deliver(self, due: Due) -> Mapping[str, Mapping[str, Any]]:
        self._mirror.tried.append(due.subject)
        if due.subject.startswith(f"art://{self._mirror.stuck}:"):
            raise Retry("409: it was removed")
        self._box.append(due.subject)
        return {due.subject: {"name": due.subject}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Lineage]:
    """A store with a run for each of two servers, that of the first before the other."""
    with lineage.open(tmp_path / "l.db", environ={}) as store:
        for box in ("old", "new"):
            with store.run(box) as run:
                run.record_name("boxes", {"box": box})
                run.publish(box, path=box, type="model", external=True)
        yield store


@pytest.fixture
def boxes() -> Boxes:
    return Boxes()


@pytest.mark.parametrize("patient", [True, False])
def test_server_that_does_not_answer_holds_up_no_other(
    store: Lineage, boxes: Boxes, *, patient: bool
) -> None:
    boxes.faults["old"] = Retry("nobody is there any more")
    worker = Worker(store, boxes)
    assert worker.work(patient=patient) == 1
    assert boxes.boxes == {"new": ["art://new:v1"]}
    assert worker.is_hopeful
    assert 0 < worker.next_try() <= 1
    assert worker.work() == 0  # it is left alone for a while
    boxes.faults.clear()
    assert worker.work(patient=False) == 1
    assert not worker.is_hopeful


def test_server_that_cannot_be_used_holds_up_no_other_and_is_told(
    store: Lineage, boxes: Boxes
) -> None:
    boxes.faults["old"] = MirrorUnready("no login for http://me:hunter2hunter2@old")
    worker = Worker(store, boxes)
    with pytest.raises(MirrorUnready, match=r"no login for http://\[redacted\]@old"):
        worker.work()
    assert (worker.delivered, boxes.boxes) == (1, {"new": ["art://new:v1"]})


def test_end_that_is_refused_loses_nothing_that_arrived(
    store: Lineage, boxes: Boxes, caplog: pytest.LogCaptureFixture
) -> None:
    boxes.end = Refused("it was finished before")
    worker = Worker(store, boxes)
    assert worker.work() == 2
    assert worker.status().left == 0
    assert "boxes refused the end of run:" in caplog.text


def test_run_that_its_server_never_takes_holds_up_no_other(store: Lineage, boxes: Boxes) -> None:
    for name in ("stuck", "stuck", "stuck", "stuck", "fine"):
        with store.run(name) as run:
            run.record_name("boxes", {"box": "new"})
            for n in range(5):
                run.publish(name, path=f"{name}-{n}", type="model", external=True)
    boxes.stuck = "stuck"
    now = [1000.0]
    worker = Worker(store, boxes, clock=lambda: now[0])
    assert worker.work() == 2
    assert boxes.tried.count("art://stuck:v1") == 1
    assert len(boxes.tried) == 2 + 3  # three runs failed: it seems to be the server
    now[0] += 0.1
    assert worker.work() == 5  # and it is not: the runs that failed are left alone for a while
    assert worker.is_hopeful
    boxes.stuck = ""
    assert worker.work(patient=False) == 20
    assert not worker.is_hopeful


@pytest.mark.parametrize("number", [EROFS, EACCES])
def test_store_that_cannot_be_written_is_one_sentence(
    store: Lineage, boxes: Boxes, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/ro/mirrors")

    monkeypatch.setattr(FolderShelf, "put_new", refuse)
    with pytest.raises(StoreReadOnly, match=r"'/ro/mirrors'\); run it where the store"):
        Worker(store, boxes).work()
    assert not boxes.boxes


def test_rows_in_memory_begin_where_a_run_that_nobody_heard_of_can(store: Lineage) -> None:
    """On the rank that has the W&B run and not the store: a long history is not read for it."""
    with store.reading() as db:
        assert queries.commit_before_run(db, "not-there-yet") == store.journal.head().number
        first = store.runs()[-1].id
        assert queries.commit_before_run(db, first) == 0


def test_folder_that_is_away_for_a_while_ends_no_delivery(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread in training goes on once the share is back."""

    class Run:
        """What a live run of the SDK tells of itself."""

        entity, project, id, url = "e", "p", "r", None
        settings = SimpleNamespace(base_url="http://127.0.0.1:1", api_key=None)

    place = tmp_path / "store"
    with lineage.open(place, environ={}) as store, store.run("train") as run:
        run.record_name("wandb", {"id": "r", "project": "p"})
        mirror = LiveMirror(Run(), store=place, environ={}, interval=0.01)

        def look(times: int) -> None:
            with mirror._changed:
                wanted = mirror._passes + times
                assert mirror._changed.wait_for(lambda: mirror._passes >= wanted, 30)

        mirror.join(run.id)
        look(1)
        place.rename(tmp_path / "away")
        place.write_text("no folder")
        look(3)
        place.unlink()
        (tmp_path / "away").rename(place)
        look(2)
        mirror.close(0)
        assert "the store cannot be read now: " in caplog.text
        assert mirror.failures == 0


def test_file_that_is_named_as_ours_lies_beside_it(store: Lineage, tmp_path: Path) -> None:
    """Or W&B refuses the version for good, or shows the file in place of the folder."""
    note = tmp_path / "note"
    note.write_text("x")
    attached = {"output": note, "lineage.json": note, "dir/output": note}
    with store.run("train") as run:
        by_file = run.publish("f", path=tmp_path, type="model", attach=attached)
        attached = dict.fromkeys(attached, "https://example.com/x")
        by_reference = run.publish("r", path=tmp_path, type="model", attach=attached)
    names = {"attached/output", "attached/lineage.json", "dir/output"}
    assert set(_draft(store, by_file).files) == names
    references = _draft(store, by_reference).references
    assert set(references) == names | {"output"}
    assert references["output"][0] == f"file://{tmp_path}"


def _draft(store: Lineage, version: lineage.Version) -> Draft:
    (commit,) = store.journal.read(version.commit - 1, version.commit)
    (event,) = (e.event for e in commit.entries if isinstance(e.event, Published))
    return of_version(version, event, (), store=store.journal.id, aliases=())
