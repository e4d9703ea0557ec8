"""What does a journal of a million commits ask of a host that was never here before?

    python benchmarks/million.py [commits]

Writes a directory journal by a batch writer (the projects of ``graph.py``, one event a commit),
with a snapshot that is 10,000 commits old. Then processes with empty caches resolve a reference
and ask for ancestors, with and without it; a reader takes in one new commit; and a writer
publishes while another process packs.
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from common import ROOT, folder, percentile
from graph import WHEN, projects

import nemotron.lineage as lineage
from nemotron.lineage.commits import GENESIS, Commit, Entry, Head, Mark
from nemotron.lineage.journal.directory import DirectoryJournal
from nemotron.lineage.journal.numbered import NumberedJournal
from nemotron.lineage.snapshots import make_snapshots
from nemotron.lineage.testing import publish

BEHIND = 10_000  # commits since the snapshot: half of what there may be at a million
LOOSE = 20_000  # commits that are not packed yet
EVENTS = 72  # of a project
COLD = 5  # times
PACK = """
import sys
from nemotron.lineage.pace import yield_to_others
from nemotron.lineage.journal.directory import DirectoryJournal
journal = DirectoryJournal(sys.argv[1], create=False)
yield_to_others()
print("ready", flush=True)
print(journal.tidy(age=0), flush=True)
"""
ANCESTORS = """
import sys
import nemotron.lineage as lineage
with lineage.open(sys.argv[1]) as store:
    print(len(store.lineage(sys.argv[2]).ancestors()))
"""


def main(commits: int) -> None:
    """Write, then ask."""
    with folder() as place:
        root = place / "lineage"
        _write(root, commits)
        name = f"art://rl-{commits // EVENTS - 50}:v11"
        _cold(root, name)
        _refresh(root)
        _pack(root)


def _write(root: Path, count: int) -> None:
    journal = DirectoryJournal(root, adopting=True)
    began = time.perf_counter()
    commits = _commits(journal.id, count)
    first = count - BEHIND
    journal.adopt(itertools.islice(commits, first))
    print(f"{first:,} commits written in {time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    head = journal.head()
    journal.ledger_tables().catch_up(head)
    print(f"ledger projected in {time.perf_counter() - began:.0f} s")
    began = time.perf_counter()
    with lineage.Lineage(journal) as store:
        store.artifacts()
        print(f"index projected in {time.perf_counter() - began:.0f} s")
        began = time.perf_counter()
        notes = make_snapshots(journal)
        sizes = ", ".join(f"{note.tables} {note.size / 1e6:.0f} MB" for note in notes)
        print(f"snapshot made in {time.perf_counter() - began:.0f} s: {sizes}")
        journal.adopt(commits)
        journal.finish()


def _commits(journal: str, count: int) -> Iterator[Commit]:
    head: Head = GENESIS
    for sequence, event in enumerate(projects(count), 1):
        if sequence > count:
            return
        entry = Entry(f"generator-{sequence}", WHEN, event)
        marks = {"generator": Mark(sequence)}
        commit = Commit.make(journal, head, [entry], writers=marks, recorded=WHEN)
        head = commit.head
        yield commit


def _cold(root: Path, name: str) -> None:
    print(f"\n{'cold process, empty cache':44} {'s':>8} {'goal':>6}")
    cli = [sys.executable, "-m", "nemotron.lineage.cli.main", "resolve"]
    resolve = [*cli, name, "--store", str(root)]
    ask = [sys.executable, "-c", ANCESTORS, str(root), name]
    empty = _timed([sys.executable, "-c", "pass"])
    here = statistics.median(_timed(resolve, root) for _ in range(COLD))
    first = statistics.median(_timed(ask, root) for _ in range(COLD))
    print(f"{'python -c pass':44} {empty:8.3f}")
    print(f"{'lineage resolve':44} {here:8.3f} {0.5:6}")
    print(f"{'first graph query':44} {first:8.3f} {5:6}")
    (root / "snapshots").rename(root.parent / "aside")
    without = _timed(resolve, root)
    print(f"{'lineage resolve without a snapshot':44} {without:8.3f}   x{without / here:.0f}")
    (root.parent / "aside").rename(root / "snapshots")


def _timed(command: list[str], root: Path | None = None) -> float:
    if root is not None:
        shutil.rmtree(root / "cache", ignore_errors=True)
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")}
    began = time.perf_counter()
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _refresh(root: Path) -> None:
    with lineage.open(root) as store:
        store.artifacts()
        times = []
        for number in range(50):
            store.commit(publish(name="fresh", path=f"/{number}"))
            began = time.perf_counter()
            assert store.resolve("fresh").number == number + 1
            times.append(time.perf_counter() - began)
    p50, p99 = statistics.median(times) * 1e3, percentile(times, 99) * 1e3
    print(f"\nrefresh of one new commit: p50 {p50:.2f} ms, p99 {p99:.2f} ms (goal 5)")


def _pack(root: Path) -> None:
    # so that only one process packs, and when it is told
    NumberedJournal._tidy_soon = lambda _: None  # type: ignore[method-assign]  # noqa: SLF001
    print(f"\na writer beside a process that packs {LOOSE:,} commits (goal: 50 ms)")
    print(f"{'':26} {'per s':>8} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}")
    with lineage.open(root) as store:
        for number in range(LOOSE):
            store.commit(publish(name="loose", path=f"/{number}"))
        _show("alone", _publish(store, until=time.perf_counter() + 10))
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")}
        with subprocess.Popen(
            [sys.executable, "-c", PACK, str(root)], env=environ, stdout=subprocess.PIPE, text=True
        ) as packer:
            assert packer.stdout is not None
            packer.stdout.readline()
            times: list[float] = []
            while packer.poll() is None:
                times += _publish(store, until=time.perf_counter() + 0.2)
            print(f"{packer.stdout.readline().strip()} packs made")
        _show("beside the packer", times)


def _publish(store: lineage.Lineage, *, until: float) -> list[float]:
    times = []
    while (began := time.perf_counter()) < until:
        store.commit(publish(name="beside", path=f"/{began}"))
        times.append(time.perf_counter() - began)
    return times


def _show(what: str, times: list[float]) -> None:
    p50, p99 = statistics.median(times) * 1e3, percentile(times, 99) * 1e3
    worst = max(times) * 1e3
    print(f"{what:26} {len(times) / sum(times):8.0f} {p50:8.2f} {p99:8.2f} {worst:8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1_000_000)
