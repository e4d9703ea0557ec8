"""Records that nobody took are found wherever they lie, and brought in once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import Lineage, PathNotFoundError, audit
from nemotron.lineage import events as ev
from nemotron.lineage.clock import SystemClock
from nemotron.lineage.files import Files
from nemotron.lineage.intake import FileWriter
from nemotron.lineage.recovery import find_intakes, recover
from nemotron.lineage.testing import publish

KINDS = ["lineage.db", "lineage"]


@pytest.fixture(params=KINDS)
def lasting(request: pytest.FixtureRequest, tmp_path: Path) -> Lineage:
    return lineage.open(tmp_path / request.param)


def _record_as_a_hook(folder: Path, *events: ev.Event, **about: object) -> Path:
    """Write records as checkpoint hooks do, which open no store."""
    writer = FileWriter(str(folder / ".lineage"), about, Files(), SystemClock())
    for event in events:
        writer.append(event)
    writer.close()
    return Path(writer.path)


def _started(folder: Path, run: str = "r") -> ev.RunStarted:
    return ev.RunStarted(run=run, name="train", intake=str(folder / ".lineage"))


def test_records_of_a_run_that_nobody_heard_of_are_found_beside_its_checkpoints(
    lasting: Lineage, tmp_path: Path
) -> None:
    checkpoints = tmp_path / "job" / "checkpoints"
    _record_as_a_hook(
        checkpoints, _started(checkpoints), publish(path="/1"), host="node-7", run="r"
    )
    with lasting as store:
        assert store.artifacts() == []
        report = recover(store, [str(tmp_path / "job")])
        assert report.taken == 2
        assert [(each.host, each.run, each.records) for each in report.found] == [
            ("node-7", "r", 2)
        ]
        assert report.left == []
        assert store.resolve("model").address == "/1"
        assert recover(store, [str(tmp_path / "job")]).taken == 0
        assert audit.fsck(store).is_clean


def test_folders_of_runs_that_ended_are_looked_into_again(lasting: Lineage, tmp_path: Path) -> None:
    with lasting as store:
        with store.run("train", intake=tmp_path / "out") as run:
            run_id = run.id
        late = publish(path="/late", run=run_id)
        clock = SystemClock()
        assert store.runs()[0].status == "ok"
        writer = FileWriter(str(tmp_path / "out" / ".lineage"), {}, Files(), clock)
        writer.append(late)
        report = recover(store)
        assert str(tmp_path / "out" / ".lineage") in report.folders
        assert [v.address for v in store.log("model")] == ["/late"]


def test_looking_alone_changes_nothing(lasting: Lineage, tmp_path: Path) -> None:
    _record_as_a_hook(tmp_path, publish(path="/1"))
    with lasting as store:
        store.intake_writer(None, run="r").append(publish(path="/own"))
        report = recover(store, [str(tmp_path)], dry=True)
        assert sum(each.records for each in report.found) == 2
        assert (report.taken, store.journal.head().number) == (0, 0)


def test_copied_checkpoints_bring_nothing_in_twice(lasting: Lineage, tmp_path: Path) -> None:
    _record_as_a_hook(tmp_path / "a", _started(tmp_path / "a"), publish(path="/1"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with lasting as store:
        assert recover(store, [str(tmp_path / "a"), str(tmp_path / "b")]).taken == 2
        shutil.copytree(tmp_path / "a", tmp_path / "c")
        assert recover(store, [str(tmp_path)]).taken == 0
        assert [v.number for v in store.log("model")] == [1]


def test_copy_that_was_cut_off_and_the_whole_file_come_to_the_same(
    lasting: Lineage, tmp_path: Path
) -> None:
    path = _record_as_a_hook(tmp_path / "a", *(publish(path=f"/{n}") for n in range(4)))
    (tmp_path / "b" / ".lineage").mkdir(parents=True)
    data = path.read_bytes()
    (tmp_path / "b" / ".lineage" / path.name).write_bytes(data[: len(data) - 300])
    with lasting as store:
        recover(store, [str(tmp_path / "b")])
        some = len(store.log("model"))
        assert 0 < some < 4
        recover(store, [str(tmp_path / "a")])
        assert [v.address for v in store.log("model")] == ["/3", "/2", "/1", "/0"]


def test_records_of_another_store_are_left_alone_and_named(
    lasting: Lineage, tmp_path: Path
) -> None:
    with lineage.open(tmp_path / "other.db") as other, other.run("x", intake=tmp_path) as run:
        run.record("theirs", path=tmp_path, type="model")
        with lasting as store:
            with store.run("y", intake=tmp_path) as mine:
                mine.record("ours", path=tmp_path, type="model")
                assert [a.name for a in store.artifacts()] == ["ours"]
            report = recover(store, [str(tmp_path)])
            assert [each.obstacle for each in report.left] == [
                f"belongs to journal {other.journal.id}"
            ]
            assert [a.name for a in store.artifacts()] == ["ours"]
        assert [a.name for a in other.artifacts()] == ["theirs"]


def test_records_of_a_newer_release_are_left_for_it(
    lasting: Lineage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ev.RunEnded, "form", 2)
        _record_as_a_hook(tmp_path, publish(path="/1"), ev.RunEnded(run="r", status="ok"))
    with lasting as store:
        report = recover(store, [str(tmp_path)])
        assert report.taken == 1
        assert [(each.records, each.obstacle) for each in report.left] == [
            (1, "needs a newer release")
        ]


def test_damaged_lines_are_counted_and_passed_over(lasting: Lineage, tmp_path: Path) -> None:
    path = _record_as_a_hook(tmp_path, publish(path="/1"), publish(path="/2"), publish(path="/3"))
    path.write_bytes(path.read_bytes().replace(b'"/2"', b'"/9"'))
    with lasting as store:
        assert [each.damaged for each in store.waiting([str(tmp_path / ".lineage")])] == [1]
        recover(store, [str(tmp_path)])
        assert [v.address for v in store.log("model")] == ["/3", "/1"]


def test_intakes_are_found_at_any_depth_and_through_no_link(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c" / ".lineage"
    deep.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "iter_1").mkdir()
    assert list(find_intakes(str(tmp_path))) == [str(deep)]
    assert list(find_intakes(str(deep))) == [str(deep)]
    with pytest.raises(PathNotFoundError, match="recover on the host that sees it"):
        list(find_intakes(str(tmp_path / "nope")))


def test_two_hosts_that_recover_at_once_bring_everything_in_once(tmp_path: Path) -> None:
    place = tmp_path / "lineage"
    lineage.open(place).close()
    for number in range(10):
        folder = tmp_path / "out" / f"{number}"
        _record_as_a_hook(folder, *(publish(path=f"/{number}/{at}") for at in range(20)))
    children = []
    for host in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.environ["LINEAGE_CACHE"] = str(tmp_path / f"host-{host}")
                with lineage.open(place) as store:
                    recover(store, [str(tmp_path / "out")])
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    with lineage.open(place) as store:
        versions = store.log("model")
        assert len({version.address for version in versions}) == len(versions) == 200
        assert audit.fsck(store).is_clean
