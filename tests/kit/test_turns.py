"""While training waits for a hook, busy threads take short turns; before and after, their usual."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from nemotron.kit.patches.hooks import Hooks
from nemotron.kit.patches.turns import ShortTurns


def test_busy_threads_take_short_turns_while_training_waits(tmp_path: Path) -> None:
    usual, seen = sys.getswitchinterval(), []
    deadline = time.monotonic() + 60

    def act(_: object) -> None:
        # it may be at this before training waits for it
        while sys.getswitchinterval() == usual and time.monotonic() < deadline:
            time.sleep(0.001)
        seen.append(sys.getswitchinterval())

    hooks = Hooks("train", run="r1", store=str(tmp_path / "lineage.db"), budget=60)
    hooks.write(str(tmp_path), act)
    assert seen[0] < usual / 10
    assert sys.getswitchinterval() == usual
    hooks.close()


def test_the_last_one_to_leave_puts_the_usual_turn_back() -> None:
    usual, turns = sys.getswitchinterval(), ShortTurns()
    with turns:
        short = sys.getswitchinterval()
        with turns:
            pass
        assert sys.getswitchinterval() == short < usual
    assert sys.getswitchinterval() == usual


def test_turns_that_are_short_already_stay_as_they_are() -> None:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ShortTurns():
            assert sys.getswitchinterval() == pytest.approx(1e-5)
        assert sys.getswitchinterval() == pytest.approx(1e-5)
    finally:
        sys.setswitchinterval(usual)
