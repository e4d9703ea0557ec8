"""32 processes write one name and are killed at random moments: nothing is lost or doubled.

``make test-storm`` makes each storm last 10 seconds, or the 60 of ``LINEAGE_STORM=60``, has it
print what a publish took, and adds the slow places.

Where every operation takes 20 ms longer, it is the place that is slow: a fault layer for folders
and buckets, the wire to PostgreSQL, and for SQLite, which does its own writing, every sync, by
strace.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import audit

from .conftest import ROOT

PROCESSES = 32
LONG = "LINEAGE_STORM" in os.environ  # the tests' own world has no such variables
SECONDS = float(os.environ.get("LINEAGE_STORM", "2"))
DELAY = 0.02
SYNCS = "fdatasync,fsync,write"  # what reaches the disk: commits, and the appends of hooks
# the writer stays our child (-D), and other calls cost nothing
SLOW = [
    "strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, "-e", f"trace={SYNCS}",
    "-e", f"inject={SYNCS}:delay_exit={DELAY * 1e6:.0f}",
]  # fmt: skip
PATIENCE = 120.0  # seconds for all of them to begin
ONLY_LONG = pytest.mark.skipif(not LONG, reason="make test-storm has the slow places")
KINDS = [
    pytest.param("sqlite", 0.0, id="sqlite"),
    pytest.param("sqlite", DELAY, id="sqlite-20ms", marks=ONLY_LONG),
    pytest.param("directory", 0.0, id="directory"),
    pytest.param("directory", DELAY, id="directory-20ms", marks=ONLY_LONG),
    pytest.param("objects", 0.0, id="objects"),
    pytest.param("objects", DELAY, id="objects-20ms", marks=ONLY_LONG),
    pytest.param("postgres", 0.0, id="postgres", marks=pytest.mark.postgres),
    pytest.param("postgres", DELAY, id="postgres-20ms", marks=pytest.mark.postgres),
]


class Storm:
    """Writers, each with a file of what was acknowledged to it."""

    def __init__(self, address: str, delay: float, place: Path, before: Sequence[str] = ()) -> None:
        self._address, self._delay, self._place, self._before = address, delay, place, before
        self._started = 0
        self._running: list[tuple[subprocess.Popen[bytes], int]] = []

    def start(self) -> None:
        """Start one more."""
        number, self._started = self._started, self._started + 1
        folder = self._place / f"host-{number % PROCESSES}"
        with (self._place / f"told-{number}").open("wb") as told:
            process = subprocess.Popen(
                [*self._before, sys.executable, str(Path(__file__).with_name("storm.py")),
                 self._address, str(number), str(self._delay), str(folder)],
                env={**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")}, stdout=told,
            )  # fmt: skip
        self._running.append((process, number))

    def kill(self, at: int) -> None:
        """Kill one of those that run."""
        process, _ = self._running.pop(at)
        assert process.poll() is None, "a writer ended by itself"
        process.kill()
        process.wait()

    def wait_for_all(self) -> None:
        """Wait until everyone was told of something."""
        deadline = time.monotonic() + PATIENCE
        for process, number in self._running:
            while not (self._place / f"told-{number}").stat().st_size:
                assert process.poll() is None, "a writer ended by itself"
                assert time.monotonic() < deadline, "the writers do not get on"
                time.sleep(0.02)

    def stop(self) -> None:
        """Kill all."""
        while self._running:
            process, _ = self._running.pop()
            process.kill()
            process.wait()

    def told(self) -> Iterator[tuple[str, str, float]]:
        """Yield (version or ``recorded``, path, milliseconds) of what was acknowledged."""
        for path in self._place.glob("told-*"):
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):  # a line that was cut off tells of nothing
                    what, where, took = line.split()
                    yield what, where, float(took)


@contextmanager
def _storm(address: str, delay: float, place: Path, before: Sequence[str] = ()) -> Iterator[Storm]:
    storm = Storm(address, delay, place, before)
    try:
        yield storm
    finally:
        storm.stop()


@pytest.mark.parametrize(("kind", "delay"), KINDS)
def test_killed_writers_of_one_name_lose_and_double_nothing(
    kind: str,
    delay: float,
    address_of: Callable[[str, str], str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = address_of(kind, "lineage")
    lineage.open(address).close()
    far = address
    if kind == "postgres" and delay:
        server = request.getfixturevalue("server")
        wire, folder = request.getfixturevalue("slow_wire")
        far = address.replace(str(server.folder), str(folder))
        assert wire.delay == delay
    if kind == "sqlite" and delay:
        _must_slow_down(tmp_path / "probe")
    place = tmp_path / "storm"
    place.mkdir()
    draw = random.Random(7)
    by_writer = delay if kind in ("directory", "objects") else 0.0
    before = SLOW if kind == "sqlite" and delay else ()
    with _storm(far, by_writer, place, before) as storm:
        for _ in range(PROCESSES):
            storm.start()
        storm.wait_for_all()
        killed, until = 0, time.monotonic() + SECONDS
        while time.monotonic() < until:
            time.sleep(draw.random() * 0.5)
            storm.kill(draw.randrange(PROCESSES))
            storm.start()
            killed += 1
    acknowledged = list(storm.told())
    told = {path: what for what, path, _ in acknowledged if what != "recorded"}
    recorded = {path for what, path, _ in acknowledged if what == "recorded"}
    # by the same address: what waits for a far store lies in a folder that is found by it
    with lineage.open(far) as store:
        store.combine()
        versions = store.log("model")
        found = {version.address: str(version.uri) for version in versions}
        report = audit.fsck(store)
    assert killed > SECONDS
    assert len(told) > PROCESSES // 2
    assert len(recorded) > PROCESSES // 8
    assert {path: found.get(path) for path in told} == told
    assert recorded <= found.keys()
    assert len(found) == len(versions), "a record was taken twice"
    assert sorted(version.number for version in versions) == list(range(1, len(versions) + 1))
    assert report.is_clean, report.damage
    assert report.pending == 0
    if LONG:
        times = sorted(took for what, _, took in acknowledged if what != "recorded")
        with capsys.disabled():
            sys.stdout.write(
                f"\n{request.node.callspec.id}: {killed} killed, {len(told)} publishes and "
                f"{len(recorded)} records acknowledged, 0 lost; publish p50 "
                f"{times[len(times) // 2]:.0f} ms, p99 {times[len(times) * 99 // 100]:.0f} ms\n"
            )


def _must_slow_down(probe: Path) -> None:
    """Make sure that strace makes writes slow here, or skip."""
    write = "import os, sys; os.fsync(os.open(sys.argv[1], os.O_CREAT | os.O_RDWR))"
    words = [*SLOW, sys.executable, "-S", "-c", write, str(probe)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("NOT SHOWN for SQLite on a slow disk: apt-get install strace")
    if done.returncode != 0:
        pytest.skip(f"NOT SHOWN for SQLite on a slow disk: {done.stderr.strip()}")


@pytest.fixture
def slow_wire(server: object) -> Iterator[object]:
    """A way to the server on which every message takes 20 ms longer."""
    with server.wire(delay=DELAY) as wired:  # type: ignore[attr-defined]  # a PostgresServer
        yield wired
