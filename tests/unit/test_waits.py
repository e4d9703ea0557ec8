"""Questions to a slow disk overlap, those to a fast one do not; the answers are the same."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time

import pytest

from nemotron.lineage.waits import Waits


class Disk:
    """Answers after a while, and notes by how many it was asked at a time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._asking = 0
        self.most = 0

    def ask(self, number: int) -> int:
        with self._lock:
            self._asking += 1
            self.most = max(self.most, self._asking)
        if self._seconds:
            time.sleep(self._seconds)
        with self._lock:
            self._asking -= 1
        if number < 0:
            raise FileNotFoundError(number)
        return number * number


@pytest.mark.parametrize("count", [0, 1, 2, 17, 100])
@pytest.mark.parametrize("seconds", [0, 0.01])
def test_answers_come_in_order(count: int, seconds: float) -> None:
    numbers = list(range(count))
    assert list(Waits().map(Disk(seconds).ask, numbers)) == [n * n for n in numbers]


def test_fast_disk_is_asked_by_one_thread() -> None:
    waits, disk = Waits(), Disk(0)
    for _ in range(3):
        list(waits.map(disk.ask, range(100)))
    assert disk.most == 1


def test_slow_disk_is_asked_by_many_threads_from_the_second_question_on() -> None:
    waits, disk = Waits(), Disk(0.01)
    list(waits.map(disk.ask, range(100)))
    assert disk.most > 10


def test_two_questions_of_a_disk_that_was_slow_before_overlap() -> None:
    waits, disk = Waits(), Disk(0.02)
    list(waits.map(disk.ask, [1]))
    list(waits.map(disk.ask, [1, 2]))
    assert disk.most == 2


def test_disk_that_is_fast_again_is_asked_by_one_thread_again() -> None:
    waits = Waits()
    list(waits.map(Disk(0.01).ask, range(40)))
    disk = Disk(0)
    list(waits.map(disk.ask, range(40)))
    disk = Disk(0)
    list(waits.map(disk.ask, range(40)))
    assert disk.most == 1


@pytest.mark.parametrize("seconds", [0, 0.01])
def test_what_a_question_raises_is_raised(seconds: float) -> None:
    with pytest.raises(FileNotFoundError):
        list(Waits().map(Disk(seconds).ask, [*range(50), -1, *range(50)]))


@pytest.mark.parametrize("before", ["threading", "concurrent.futures.thread"])
def test_at_the_end_of_the_interpreter_one_is_asked_after_the_other(before: str) -> None:
    script = f"""
        import atexit, time, {before}
        from nemotron.lineage.waits import Waits

        def ask(number):
            time.sleep(0.01)
            return number

        atexit.register(lambda: print(sum(Waits().map(ask, range(40)))))
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == "780\n"
    assert ended.stderr == ""
