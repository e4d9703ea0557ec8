"""Whatever the disk does, training waits a second at the most, and a record that was made stays."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.kit.patches.hooks import Hooks
from nemotron.lineage import Recorder, SourceURI

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hooks(tmp_path: Path) -> Iterator[Hooks]:
    hooks = Hooks("train", run="r1", store=str(tmp_path / "lineage.db"), budget=60)
    yield hooks
    hooks.close()


def _checkpoint(tmp_path: Path, step: int) -> Path:
    path = tmp_path / "ckpts" / f"iter_{step:07d}"
    path.mkdir(parents=True)
    (path / "state.json").write_text(f"{step}")
    return path


def _record(hooks: Hooks, path: Path) -> None:
    hooks.write(str(path.parent), lambda recorder: recorder.record("m", path=path, type="model"))


def _numbers(tmp_path: Path) -> list[int]:
    with lineage.open(tmp_path / "lineage.db") as store:
        return [v.number for v in store.log("m")] if store.artifacts() else []


def test_record_is_there_when_write_returns(hooks: Hooks, tmp_path: Path) -> None:
    _record(hooks, _checkpoint(tmp_path, 1))
    assert _numbers(tmp_path) == [1]


def test_disk_that_hangs_holds_training_for_the_budget_and_then_never_again(
    hooks: Hooks, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(hooks, "_budget", 0.2)
    hooks.write(str(tmp_path / "ckpts"), lambda _: answers.wait(30))
    began = time.monotonic()
    for step in range(20):
        _record(hooks, _checkpoint(tmp_path, step))
    assert time.monotonic() - began < 10  # not 20 budgets, whatever this machine does
    assert caplog.text.count("takes longer than 0.2 s") == 1
    assert _numbers(tmp_path) == []
    answers.set()
    hooks.close()
    assert len(_numbers(tmp_path)) == 20


def test_fault_is_one_warning_and_is_tried_again(
    hooks: Hooks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    obstacles = [tmp_path / "ckpts" / ".lineage", tmp_path / "lineage.db.d"]
    obstacles[0].parent.mkdir()
    for obstacle in obstacles:
        obstacle.write_text("in the way")
    paths = [_checkpoint(tmp_path, step) for step in range(1, 5)]
    for path in paths[:3]:
        _record_with_its_data(hooks, path)
    assert hooks.failures == 6
    warnings = [each for each in caplog.records if each.name == "nemotron.kit.patches.hooks"]
    assert len([each for each in warnings if each.levelno == logging.WARNING]) == 1
    assert "training goes on, and it is tried again with the next one" in warnings[0].message
    for obstacle in obstacles:
        obstacle.unlink()
    _record_with_its_data(hooks, paths[3])
    assert _numbers(tmp_path) == [4, 3, 2, 1]
    with lineage.open(tmp_path / "lineage.db") as store:  # what came after the fault too
        assert [str(each.target) for each in store.inputs("m:v1")] == ["hf://org/data"]


def _record_with_its_data(hooks: Hooks, path: Path) -> None:
    def act(recorder: Recorder) -> None:
        recorder.record_use(SourceURI.parse("hf://org/data"))
        recorder.record("m", path=path, type="model")

    hooks.write(str(path.parent), act)


def test_what_cannot_be_recorded_is_one_warning(
    hooks: Hooks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        _record(hooks, tmp_path / "ckpts" / "nothing")
    assert hooks.failures == 5
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "a checkpoint could not be recorded" in warnings[0].message


def test_after_a_late_act_that_failed_training_waits_for_the_next_one(
    hooks: Hooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, seen = threading.Event(), []

    def hang(_: Recorder) -> None:
        answers.wait(30)
        raise OSError("the disk did not answer")

    def act(_: Recorder) -> None:
        time.sleep(0.05)
        seen.append("done")

    with monkeypatch.context() as impatient:
        impatient.setattr(hooks, "_budget", 0.2)
        hooks.write(str(tmp_path / "ckpts"), hang)
    answers.set()
    assert hooks._late is not None
    assert hooks._late.acquire(timeout=60)
    hooks._late.release()
    assert hooks.failures == 1
    hooks.write(str(tmp_path / "ckpts"), act)
    assert seen == ["done"]


def test_thread_that_comes_too_late_for_the_end_does_not_wait(
    hooks: Hooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _record(hooks, _checkpoint(tmp_path, 1))
    hooks.close()
    monkeypatch.setattr(Hooks, "is_mine", True)  # it looked just before
    _record(hooks, _checkpoint(tmp_path, 2))
    assert "takes longer" not in caplog.text
    assert _numbers(tmp_path) == [1]


def test_fault_of_ours_does_not_end_the_thread(
    hooks: Hooks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hooks.write(str(tmp_path / "ckpts"), lambda _: 1 / 0)
    assert "ZeroDivisionError" in caplog.text
    _record(hooks, _checkpoint(tmp_path, 1))
    assert _numbers(tmp_path) == [1]


def test_what_is_due_later_is_done_at_the_end_at_the_latest(hooks: Hooks, tmp_path: Path) -> None:
    seen: list[str] = []
    for name, seconds in (("b", 0.01), ("c", 3600), ("a", 0.0)):
        hooks.later(str(tmp_path / "ckpts"), lambda _, name=name: seen.append(name), seconds)
    deadline = time.monotonic() + 10
    while len(seen) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert seen == ["a", "b"] or seen == ["b", "a"]  # noqa: PLR1714 - by when it was told
    hooks.close()
    assert seen[-1] == "c"


def test_close_does_not_wait_for_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hooks = Hooks("train", run="r1", store=str(tmp_path / "lineage.db"), budget=0.01)
    answers = threading.Event()
    hooks.write(str(tmp_path / "ckpts"), lambda _: answers.wait(30))
    hooks.close(timeout=0.05)
    assert "could not be written" in caplog.text
    answers.set()


def test_threads_of_the_framework_may_all_write(hooks: Hooks, tmp_path: Path) -> None:
    paths = [_checkpoint(tmp_path, step) for step in range(16)]
    threads = [threading.Thread(target=_record, args=(hooks, path)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(_numbers(tmp_path)) == 16


def test_forked_child_writes_nothing_and_does_not_wait(hooks: Hooks, tmp_path: Path) -> None:
    _record(hooks, _checkpoint(tmp_path, 1))
    child = os.fork()
    if not child:
        _record(hooks, _checkpoint(tmp_path, 2))
        hooks.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert _numbers(tmp_path) == [1]


KILLED = """
import os, signal, sys
from pathlib import Path
from nemotron.kit.patches.hooks import Hooks
place, steps = Path(sys.argv[1]), int(sys.argv[2])
hooks = Hooks("train", run="r1", store=str(place / "lineage.db"))
for step in range(1, steps + 1):
    path = place / "ckpts" / f"iter_{step:07d}"
    path.mkdir(parents=True)
    (path / "state.json").write_text(str(step))
    hooks.write(str(path.parent), lambda recorder: recorder.record("m", path=path, type="model"))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("steps", [1, 3])
def test_record_survives_kill_9_right_after_the_save(tmp_path: Path, steps: int) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, str(steps)], check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    assert _numbers(tmp_path) == list(range(steps, 0, -1))
    with lineage.open(tmp_path / "lineage.db") as store:
        assert [run.status for run in store.runs()] == ["lost"]


def test_store_that_is_gone_at_exit_is_a_warning(tmp_path: Path) -> None:
    script = "import os; from nemotron import kit; kit.track(name='t'); os.remove('lineage.db')"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools/ns"), "LINEAGE_STORE": "lineage.db"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "the end of the run is not recorded" in result.stderr
