"""One holder at a time: it ends, expires or is overtaken, and who lost a lease knows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nemotron.lineage.journal.kinds import open_shelf
from nemotron.lineage.launch import Process
from nemotron.lineage.mirror.lease import TERM, Holder, Lease
from nemotron.lineage.shelf import FolderShelf, Shelf

FOLDER = "mirrors/wandb"


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def shelf(tmp_path: Path) -> FolderShelf:
    return FolderShelf(str(tmp_path))


@pytest.fixture
def clock() -> Hand:
    return Hand()


def _take(shelf: Shelf, clock: Hand, what: str = "run:1") -> Lease:
    lease = Lease.take(shelf, FOLDER, what, clock=clock)
    assert isinstance(lease, Lease)
    return lease


def _rewrite(shelf: FolderShelf, **facts: object) -> None:
    """Have the lease held by somebody else."""
    (name,) = shelf.names(FOLDER)
    holder = json.loads(shelf.read(f"{FOLDER}/{name}"))
    shelf.put_over(f"{FOLDER}/{name}", json.dumps({**holder, **facts}).encode())


def test_one_holds_it_and_the_other_is_told_who(shelf: FolderShelf, clock: Hand) -> None:
    with _take(shelf, clock) as lease:
        other = Lease.take(shelf, FOLDER, "run:1", clock=clock)
        assert isinstance(other, Holder)
        assert f"process {Process.current().pid} on " in other.who
        assert lease.is_mine
        assert isinstance(Lease.take(shelf, FOLDER, "run:2", clock=clock), Lease)


def test_released_lease_is_free_at_once_and_the_fence_grows(
    shelf: FolderShelf, clock: Hand
) -> None:
    fences = []
    for _ in range(3):
        with _take(shelf, clock) as lease:
            fences.append(lease.fence)
    assert fences == [1, 2, 3]
    assert len(shelf.names(FOLDER)) == 1


def test_holder_of_another_host_keeps_it_until_its_time_is_over(
    shelf: FolderShelf, clock: Hand
) -> None:
    before = _take(shelf, clock)
    _rewrite(shelf, host="elsewhere")
    clock.now += TERM
    assert isinstance(Lease.take(shelf, FOLDER, "run:1", clock=clock), Holder)  # clocks differ
    clock.now += 31
    assert _take(shelf, clock).fence == 2
    assert not before.is_mine
    before.release()
    assert isinstance(Lease.take(shelf, FOLDER, "run:1", clock=clock), Holder)  # not his to give


def test_process_that_is_gone_is_overtaken_at_once(tmp_path: Path, clock: Hand) -> None:
    program = f"""
import os, time
from nemotron.lineage.shelf import FolderShelf
from nemotron.lineage.mirror.lease import Lease
Lease.take(FolderShelf({str(tmp_path)!r}), {FOLDER!r}, "run:1")
os.kill(os.getpid(), 9)
"""
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "tools" / "ns")}
    subprocess.run([sys.executable, "-c", program], check=False, env=environ)
    shelf = FolderShelf(str(tmp_path))
    assert len(shelf.names(FOLDER)) == 1
    clock.now = 0.0  # long before its time is over
    assert _take(shelf, clock).fence == 2


def test_helper_that_finishes_what_a_dead_holder_began_is_waited_for(
    shelf: FolderShelf, clock: Hand
) -> None:
    _take(shelf, clock)
    helper = Process.current()
    _rewrite(shelf, pid=2**22 + 1, started="never", helpers=[[helper.pid, helper.started]])
    other = Lease.take(shelf, FOLDER, "run:1", clock=clock)
    assert isinstance(other, Holder)
    assert other.is_passing


def test_many_at_once_and_one_gets_it(shelf: FolderShelf, clock: Hand) -> None:
    taken: list[Lease | Holder] = []
    begin = threading.Barrier(8)

    def act() -> None:
        begin.wait()
        taken.append(Lease.take(shelf, FOLDER, "run:1", clock=clock))

    threads = [threading.Thread(target=act) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    leases = [each for each in taken if isinstance(each, Lease)]
    assert len([each for each in leases if each.is_mine]) <= 1
    assert len(taken) == 8


def test_renewal_under_way_takes_nothing_back_that_is_given_back(
    tmp_path: Path, clock: Hand
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(FolderShelf):
        def put_over(self, name: str, data: bytes) -> None:
            if b"released" not in data:
                begun.set()
                assert go_on.wait(10)
            super().put_over(name, data)

    lease = _take(Slow(str(tmp_path)), clock)
    renewal = threading.Thread(target=lease.mark_busy)
    renewal.start()
    assert begun.wait(10)
    end = threading.Thread(target=lease.release)
    end.start()
    end.join(0.2)  # it may have to wait
    go_on.set()
    renewal.join()
    end.join()
    assert isinstance(Lease.take(FolderShelf(str(tmp_path)), FOLDER, "run:1", clock=clock), Lease)


def test_journal_in_memory_has_one_process_and_needs_none(clock: Hand) -> None:
    assert open_shelf("memory:") is None
    for _ in range(2):
        lease = Lease.take(None, FOLDER, "run:1", clock=clock)
        assert isinstance(lease, Lease)
        assert lease.is_mine
