"""How much of the machine reading takes."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from nemotron.lineage.pace import Pace, free_cores

ROOT = Path(__file__).parents[2]


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("nemotron.lineage.pace.time.monotonic", lambda: self.now)
        monkeypatch.setattr("nemotron.lineage.pace.time.sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_bytes_take_the_time_that_the_rate_asks(clock: Clock) -> None:
    pace = Pace(1000, rate=100)
    for _ in range(10):
        pace.spend(100)
    assert clock.now == pytest.approx(110)


def test_slow_reading_is_not_made_up_for(clock: Clock) -> None:
    pace = Pace(1000, rate=100)
    clock.now += 60
    pace.spend(100)
    assert clock.now == pytest.approx(161)


def test_without_a_rate_nobody_waits(clock: Clock) -> None:
    pace = Pace(1000)
    pace.spend(1000)
    assert clock.now == 100
    assert pace.block(1 << 20) == 1 << 20


def test_low_rate_reads_a_little_at_a_time(clock: Clock) -> None:
    assert Pace(1, rate=1000).block(1 << 20) == 100
    assert Pace(1, rate=0.5).block(1 << 20) == 1
    assert Pace(1, rate=1e12).block(1 << 20) == 1 << 20


def test_progress_counts_what_is_read_and_what_need_not_be(clock: Clock) -> None:
    seen: list[tuple[int, int]] = []
    pace = Pace(30, rate=1, progress=lambda *at: seen.append(at))
    pace.skip(10)
    pace.spend(20)
    assert seen == [(10, 30), (30, 30)]
    assert clock.now == pytest.approx(120)


def test_stopped_reading_ends_at_its_next_block() -> None:
    pace = Pace(10)
    pace.stop()
    with pytest.raises(CancelledError):
        pace.spend(1)


def test_there_is_a_core_for_one_thread_at_least() -> None:
    assert 1 <= free_cores() <= 8


def test_yielding_process_takes_what_is_left() -> None:
    code = (
        "import os, threading; from nemotron.lineage.pace import yield_to_others as y; y();"
        "t = threading.Thread(target=lambda: print(os.getpriority(os.PRIO_PROCESS, 0)));"
        "t.start(); t.join(); import ctypes, platform;"
        "n = {'x86_64': 252, 'aarch64': 31}.get(platform.machine());"
        "print(ctypes.CDLL(None).syscall(n, 1, 0) >> 13 if n else 3)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["19", "3"]
