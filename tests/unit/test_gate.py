"""One passes at a time, dead holders hold nothing, stopped ones only until the deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nemotron.lineage import StoreBusy
from nemotron.lineage.journal.gate import Gate

HOLD = """
import sys
from nemotron.lineage.journal.gate import Gate
with Gate(sys.argv[1]).passing(10):
    print("in", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the gate until its stdin is closed."""
    source = Path(__file__).parents[2] / "tools" / "ns"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], env={**os.environ, "PYTHONPATH": str(source)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def test_who_waits_too_long_is_told_who_holds_it(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    with holder(tmp_path / "gate"), pytest.raises(StoreBusy, match="fuser -v"), gate.passing(0.05):
        pass
    with gate.passing(5):
        pass


def test_trying_does_not_wait(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    with holder(tmp_path / "gate"), pytest.raises(StoreBusy), gate.passing(0):
        pass


def test_dead_holder_holds_nothing(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    with holder(tmp_path / "gate") as process:
        process.kill()
        with gate.passing(5):
            pass


def test_stopped_holder_is_waited_for_only_until_the_deadline(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    with holder(tmp_path / "gate") as process:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(StoreBusy), gate.passing(0.1):
            pass
        process.send_signal(signal.SIGCONT)


def test_lock_that_comes_too_late_is_given_back(tmp_path: Path) -> None:
    gate, other = Gate(tmp_path / "gate"), Gate(tmp_path / "gate")
    with holder(tmp_path / "gate"), pytest.raises(StoreBusy), gate.passing(0.05):
        pass
    # the holder is gone; the thread that still waits for `gate` must not keep the door shut
    with other.passing(5):
        pass
    with gate.passing(5):
        pass


def test_who_gave_up_may_wait_again(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    with holder(tmp_path / "gate") as process:
        for _ in range(3):
            with pytest.raises(StoreBusy), gate.passing(0.02):
                pass
        threading.Timer(0.05, process.kill).start()
        with gate.passing(5):
            pass


def test_threads_pass_one_at_a_time(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with gate.passing(10):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_two_gates_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    one, other = Gate(tmp_path / "gate"), Gate(tmp_path / "gate")
    with one.passing(1), pytest.raises(StoreBusy), other.passing(0.05):
        pass


def test_forked_child_neither_opens_nor_keeps_the_gate(tmp_path: Path) -> None:
    gate, other = Gate(tmp_path / "gate"), Gate(tmp_path / "gate")
    ready, go = os.pipe()
    with gate.passing(1):
        child = os.fork()
        if child == 0:  # it lives on with all that it inherited
            gate.close()
            os.read(ready, 1)
            os._exit(0)
        with pytest.raises(StoreBusy), other.passing(0.05):
            pass
    # the parent left; the child that still lives must not hold it
    with other.passing(1):
        pass
    os.write(go, b"x")
    os.waitpid(child, 0)


def test_child_forked_inside_does_not_unlock(tmp_path: Path) -> None:
    gate, other = Gate(tmp_path / "gate"), Gate(tmp_path / "gate")
    child = 0
    with gate.passing(1):
        child = os.fork()
        if child:
            os.waitpid(child, 0)  # the child has left the block and its process
            with pytest.raises(StoreBusy), other.passing(0.05):
                pass
    if child == 0:
        os._exit(0)


def test_gate_file_is_never_removed(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    with gate.passing(1):
        inode = (tmp_path / "gate").stat().st_ino
    gate.close()
    with gate.passing(1):
        assert (tmp_path / "gate").stat().st_ino == inode
