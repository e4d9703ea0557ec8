"""The sealer is killed, started twice, and left behind by the one that started it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import Verdict, audit, digest

from .conftest import ROOT, Start

FILES = 12
SIZE = 2 << 20  # bytes
# Seals, and tells which files it opened.
SEAL = """
import sys
import nemotron.lineage as lineage
opened = set()
def watch(event, arguments):
    if event == "open" and "/ckpt/" in str(arguments[0]):
        opened.add(str(arguments[0]).rpartition("/")[2])
sys.addaudithook(watch)
with lineage.open(sys.argv[1]) as store:
    print(store.seal("model", rate=float(sys.argv[2])).digest, *sorted(opened))
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "ckpt"
    folder.mkdir()
    for at in range(FILES):
        (folder / f"{at:02}.distcp").write_bytes(os.urandom(1 << 10) * (SIZE >> 10))
    return folder


@pytest.fixture(params=["lineage.db", "lineage"])
def place(request: pytest.FixtureRequest, tmp_path: Path, checkpoint: Path) -> Path:
    """A store with one version of a checkpoint that nobody has sealed."""
    place = tmp_path / request.param
    with lineage.open(place) as store, store.run("train") as run:
        run.publish("model", path=checkpoint, type="model")
    return place


def _wait(what: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.01)


def _remembered(place: Path) -> int:
    """Count the files whose hashes are noted, without opening the store."""
    found = list(place.parent.rglob(f"digests-1-{os.getuid()}.db"))
    if not found:
        return 0
    db = sqlite3.connect(f"file:{found[0]}?mode=ro", uri=True, timeout=5)
    try:
        (count,) = db.execute("SELECT count(*) FROM file").fetchone()
    except sqlite3.OperationalError:  # it is being made
        count = 0
    finally:
        db.close()
    return int(count)


def _digest(place: Path, name: str = "model") -> str | None:
    with lineage.open(place) as store:
        return store.version(name).digest


# --------------------------------------------------------------------------- killed


def test_killed_sealer_goes_on_where_it_was(place: Path, checkpoint: Path, start: Start) -> None:
    slow = start(SEAL, place, 4 << 20)
    _wait(lambda: _remembered(place) >= 3)
    slow.kill()
    slow.communicate()
    done = _remembered(place)
    assert 3 <= done < FILES, "it was killed in the middle"
    assert _digest(place) is None
    found, *opened = start(SEAL, place, 1e12).communicate()[0].split()
    assert len(opened) == FILES - done, "no finished file is read again"
    assert found == digest(checkpoint).text
    with lineage.open(place) as store:
        assert store.verify("model").verdict is Verdict.UNCHANGED


def test_sealer_that_was_killed_at_any_moment_leaves_a_sound_store(
    place: Path, checkpoint: Path, start: Start
) -> None:
    for at in range(6):
        process = start(SEAL, place, 60 << 20)
        time.sleep(0.1 * at)
        process.kill()
        process.communicate()
    start(SEAL, place, 1e12).communicate()
    with lineage.open(place) as store:
        assert store.version("model").digest == digest(checkpoint).text
        assert [fact.kind for fact in store.facts("model")].count("sealed") == 1
        assert audit.fsck(store).is_clean


# ----------------------------------------------------------------------- two at once


def _sealer(place: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "nemotron.lineage.sealing", str(place), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def test_one_of_two_sealers_works_and_another_takes_over_when_it_is_killed(
    place: Path, checkpoint: Path
) -> None:
    first = _sealer(place, "--rate", str(1 << 20), "--patience", "0")
    _wait(lambda: _remembered(place) >= 1)
    second = _sealer(place, "--patience", "0")
    assert second.wait(20) == 0
    assert first.poll() is None
    assert _digest(place) is None, "the second left it to the first"
    first.kill()
    first.wait()
    assert _sealer(place, "--patience", "0").wait(30) == 0
    assert _digest(place) == digest(checkpoint).text
    with lineage.open(place) as store:
        assert [fact.kind for fact in store.facts("model")].count("sealed") == 1


# --------------------------------------------------------------------- in the background

TRAIN = """
import os, sys, time
import nemotron.lineage as lineage
with lineage.open(sys.argv[1]) as store:
    run = store.run("train", intake=sys.argv[2])
    run.record("later", path=sys.argv[3], type="model")
began = time.perf_counter()
lineage.start_sealing(os.path.relpath(sys.argv[1]), patience=float(sys.argv[4]))
print(time.perf_counter() - began)
sys.stdout.flush()
"""


def _processes(place: Path) -> list[int]:
    """Return the sealers of a store."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"nemotron.lineage.sealing" in words and str(place).encode() in b" ".join(words):
            found.append(int(folder.name))
    return found


def test_sealer_outlives_the_training_that_started_it(
    place: Path, tmp_path: Path, start: Start
) -> None:
    later = tmp_path / "later"
    later.mkdir()
    (later / "weights").write_bytes(b"x" * 1000)
    # the whole group is killed, as by Ctrl-C or the end of a terminal
    code = TRAIN + "os.killpg(0, 9)"
    training = start(code, place, tmp_path / "out", later, 1, start_new_session=True)
    training.communicate()
    assert training.returncode == -signal.SIGKILL
    _wait(lambda: _digest(place, "later") and _digest(place))
    assert _digest(place, "later") == digest(later).text, "a record that nobody had combined"
    _wait(lambda: not _processes(place))


def test_sealer_yields_tells_its_log_and_ends_alone(
    place: Path, tmp_path: Path, start: Start
) -> None:
    (tmp_path / "later").mkdir()
    training = start(TRAIN + "sys.stdin.read()", place, tmp_path / "out", tmp_path / "later", 3)
    _wait(lambda: _digest(place) and _digest(place, "later"))
    (sealer,) = _processes(place)
    fields = Path(f"/proc/{sealer}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[16]) == 19, "nice"
    assert int(fields[3]) == sealer, "a session of its own"
    assert {os.readlink(f"/proc/{sealer}/fd/0")} == {"/dev/null"}
    assert os.readlink(f"/proc/{sealer}/cwd") == "/"
    (log,) = place.parent.rglob(f"sealing-{os.getuid()}.log")
    assert log.stat().st_mode & 0o777 == 0o600
    assert "sealed art://model:v1 as blake3:" in log.read_text()
    _wait(lambda: not _processes(place))
    assert training.poll() is None
    children = Path(f"/proc/{training.pid}/task/{training.pid}/children")
    if children.exists():  # where the kernel tells
        _wait(lambda: children.read_text() == "")


def test_running_sealer_is_told_of_more(place: Path, tmp_path: Path, start: Start) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "weights").write_bytes(folder.name.encode())
    start(TRAIN, place, tmp_path / "out", first, 600).communicate()
    try:
        _wait(lambda: _digest(place, "later"))
        (sealer,) = _processes(place)
        (log,) = place.parent.rglob(f"sealing-{os.getuid()}.log")
        _wait(lambda: "looking again in 12 s" in log.read_text())
        with lineage.open(place) as store, store.run("more") as run:
            run.publish("more", path=second, type="model")
        lineage.start_sealing(place)
        _wait(lambda: _digest(place, "more"))
        _wait(lambda: _processes(place) == [sealer])
    finally:
        for process in _processes(place):
            os.kill(process, signal.SIGTERM)
    _wait(lambda: not _processes(place))


def test_store_in_memory_has_no_sealer() -> None:
    with pytest.raises(lineage.StoreUnsuitable, match="use seal"):
        lineage.start_sealing("memory:")


def test_long_log_begins_anew(place: Path) -> None:
    assert _sealer(place, "--patience", "0").wait(30) == 0
    (log,) = place.parent.rglob(f"sealing-{os.getuid()}.log")
    log.write_bytes(b"x" * (2 << 20))
    assert _sealer(place, "--patience", "0").wait(30) == 0
    assert 0 < log.stat().st_size < 1000


def test_sealer_of_a_store_that_is_not_there_makes_none(tmp_path: Path) -> None:
    assert _sealer(tmp_path / "no.db").wait(20) == 1
    assert not (tmp_path / "no.db").exists()
