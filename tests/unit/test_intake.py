"""A writer's own file: one durable append a record, whatever happens to it."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from nemotron.lineage import Location, StoreFull, StoreReadOnly
from nemotron.lineage.commits import Mark
from nemotron.lineage.events import Event, Published, RunEnded
from nemotron.lineage.files import Files
from nemotron.lineage.intake import FolderIntakes
from nemotron.lineage.testing import FaultyFiles, SetClock


def _event(number: int = 1) -> Published:
    return Published(name="m", type="model", location=Location(f"/out/{number}"))


def _events(intakes: FolderIntakes, mark: Mark = Mark(0)) -> list[Event]:
    return [pending.entry.event for pending in intakes.pending(lambda _: mark)]


def test_records_come_back_in_order(tmp_path: Path) -> None:
    intakes = FolderIntakes(str(tmp_path / "intake"))
    writer = intakes.writer({"host": "h"})
    ids = [writer.append(_event(n)) for n in range(3)]
    pending = intakes.pending(lambda _: Mark(0))
    assert [p.entry.id for p in pending] == ids
    assert [p.entry.event for p in pending] == [_event(n) for n in range(3)]
    assert [p.entry.sequence for p in pending] == [1, 2, 3]


def test_only_what_is_behind_the_mark_is_pending(tmp_path: Path) -> None:
    intakes = FolderIntakes(str(tmp_path / "intake"))
    writer = intakes.writer({})
    for number in range(3):
        writer.append(_event(number))
    second = intakes.pending(lambda _: Mark(0))[1].mark
    assert _events(intakes, second) == [_event(2)]
    # a mark whose offset is of another file falls back on the sequence
    assert _events(intakes, Mark(2, second.offset + 1)) == [_event(2)]


def test_one_record_is_one_write(tmp_path: Path) -> None:
    files = FaultyFiles()
    writer = FolderIntakes(str(tmp_path / "intake"), files).writer({})
    writer.append(_event())
    files.counts.clear()
    writer.append(_event())
    assert files.counts == {"append": 1}


def test_record_is_synced_before_append_returns(tmp_path: Path) -> None:
    files = FaultyFiles()
    descriptors: list[int] = []
    real = files.open_append
    files.open_append = lambda path: descriptors.append(real(path)) or descriptors[-1]  # type: ignore[func-returns-value, method-assign]  # looks at the flags
    FolderIntakes(str(tmp_path), files).writer({}).append(_event())
    import fcntl

    assert fcntl.fcntl(descriptors[0], fcntl.F_GETFL) & os.O_DSYNC


def test_times_grow_whatever_the_clock_does(tmp_path: Path) -> None:
    clock = SetClock()
    intakes = FolderIntakes(str(tmp_path), clock=clock)
    writer = intakes.writer({})
    writer.append(_event(1))
    clock.move(hours=-5)
    writer.append(_event(2))
    times = [p.entry.occurred for p in intakes.pending(lambda _: Mark(0))]
    assert times == sorted(times)
    assert _events(intakes) == [_event(1), _event(2)]


def test_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    files = FaultyFiles()
    intakes = FolderIntakes(str(tmp_path), files)
    writer = intakes.writer({})
    writer.append(_event(1))
    files.fail("append", errno.ENOSPC)
    with pytest.raises(StoreFull, match="no space left to write the intake"):
        writer.append(_event(2))
    assert _events(intakes) == [_event(1)]
    writer.append(_event(3))
    assert _events(intakes) == [_event(1), _event(3)]


def test_lost_reply_may_show_the_record_but_never_hides_the_next(tmp_path: Path) -> None:
    files = FaultyFiles()
    intakes = FolderIntakes(str(tmp_path), files)
    writer = intakes.writer({})
    files.lose_reply("append")
    with pytest.raises(OSError, match="Input/output error"):
        writer.append(_event(1))
    writer.append(_event(2))
    assert _events(intakes) == [_event(1), _event(2)]


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    files = FaultyFiles()
    files.fail("open_append", errno.EROFS)
    with pytest.raises(StoreReadOnly, match="the intake cannot be written"):
        FolderIntakes(str(tmp_path), files).writer({}).append(_event())


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_cut_off_tail_is_left_out(tmp_path: Path, cut: int) -> None:
    intakes = FolderIntakes(str(tmp_path))
    writer = intakes.writer({})
    writer.append(_event(1))
    writer.append(_event(2))
    with open(writer.path, "r+b") as file:
        file.truncate(os.path.getsize(writer.path) - cut)
    assert _events(intakes) == [_event(1)]


def test_damaged_line_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    intakes = FolderIntakes(str(tmp_path))
    writer = intakes.writer({})
    for number in (1, 2, 3):
        writer.append(_event(number))
    data = bytearray(Path(writer.path).read_bytes())
    data[data.index(b"/out/2")] = ord("X")
    Path(writer.path).write_bytes(data)
    assert _events(intakes) == [_event(1), _event(3)]
    assert "a record was cut off" in caplog.text


def test_record_of_a_newer_release_is_left_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    intakes = FolderIntakes(str(tmp_path))
    writer = intakes.writer({})
    writer.append(_event(1))
    monkeypatch.setattr(RunEnded, "form", 2)
    writer.append(RunEnded(run="r", status="ok"))
    monkeypatch.undo()
    writer.append(_event(3))
    assert _events(intakes) == [_event(1)]
    assert "need a newer release" in caplog.text


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    intakes = FolderIntakes(str(tmp_path))
    writer = intakes.writer({})

    def work(thread: int) -> None:
        for at in range(50):
            writer.append(_event(thread * 100 + at))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_events(intakes)) == 200


def test_forked_child_writes_a_file_of_its_own(tmp_path: Path) -> None:
    intakes = FolderIntakes(str(tmp_path))
    writer = intakes.writer({})
    writer.append(_event(1))
    child = os.fork()
    if child == 0:
        writer.append(_event(2))
        os._exit(0)
    os.waitpid(child, 0)
    writer.append(_event(3))
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert sorted(map(str, _events(intakes))) == sorted(str(_event(n)) for n in (1, 2, 3))


def test_many_grown_files_are_read_at_once_on_a_slow_disk(tmp_path: Path) -> None:
    files = FaultyFiles()
    intakes = FolderIntakes(str(tmp_path), files)
    for number in range(20):
        intakes.writer({}).append(_event(number))
    assert len(_events(intakes)) == 20
    assert files.counts["sizes"] == 1
    assert files.counts["read"] == 20


def test_file_that_did_not_grow_is_not_read_again(tmp_path: Path) -> None:
    files = FaultyFiles()
    intakes = FolderIntakes(str(tmp_path), files)
    writer = intakes.writer({})
    writer.append(_event(1))
    (pending,) = intakes.pending(lambda _: Mark(0))
    assert intakes.has_pending(lambda _: Mark(0))
    assert intakes.pending(lambda _: pending.mark) == []
    files.counts.clear()
    assert intakes.pending(lambda _: pending.mark) == []
    assert not intakes.has_pending(lambda _: pending.mark)
    assert files.counts["read"] == 0


def test_blanked_record_leaves_the_others(tmp_path: Path) -> None:
    intakes = FolderIntakes(str(tmp_path))
    writer = intakes.writer({})
    ids = [writer.append(_event(n)) for n in (1, 2, 3)]
    intakes.blank(ids[1])
    assert _events(intakes) == [_event(1), _event(3)]
    assert b"/out/2" not in Path(writer.path).read_bytes()
    writer.append(_event(4))
    assert _events(intakes) == [_event(1), _event(3), _event(4)]


def test_folders_beside_checkpoints_are_read_too(tmp_path: Path) -> None:
    intakes = FolderIntakes(str(tmp_path / "own"))
    beside = str(tmp_path / "ckpt" / ".lineage")
    intakes.writer({}, beside).append(_event(1))
    assert _events(intakes) == []
    assert len(intakes.pending(lambda _: Mark(0), [beside])) == 1


def test_writer_whose_folder_was_deleted_goes_on_in_the_new_one(tmp_path: Path) -> None:
    intakes = FolderIntakes(str(tmp_path / "intake"))
    writer = intakes.writer({})
    writer.append(_event(1))
    shutil.rmtree(tmp_path / "intake")
    writer.append(_event(2))
    assert _events(intakes) == [_event(2)]


def test_folder_that_cannot_be_read_stops_nobody(tmp_path: Path) -> None:
    intakes = FolderIntakes(str(tmp_path / "intake"))
    intakes.writer({}).append(_event())
    loop = tmp_path / "loop"
    loop.symlink_to(loop)  # for root too
    assert len(intakes.pending(lambda _: Mark(0), [str(loop / ".lineage")])) == 1
    assert len(intakes.waiting(lambda _: Mark(0), [str(loop / ".lineage")])) == 1


def test_file_of_a_user_who_shares_it_with_nobody_is_left_to_its_owner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Others(Files):
        def is_readable(self, path: str) -> bool:
            return path == mine.path

    intakes = FolderIntakes(str(tmp_path / "intake"), Others())
    theirs, mine = intakes.writer({}), intakes.writer({})
    theirs.append(_event(1))
    mine.append(_event(2))
    assert _events(intakes) == [_event(2)]
    assert [each.place for each in intakes.waiting(lambda _: Mark(0))] == [mine.path]
    assert f"{theirs.path} may not be read by this user" in caplog.text
    own = FolderIntakes(str(tmp_path / "intake"))
    assert _events(own) == [_event(1), _event(2)]
