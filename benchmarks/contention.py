"""What happens when many processes publish under one name?

    python benchmarks/contention.py [processes ...]

Each process publishes 50 versions of one name as fast as it can. ``delay`` adds 20 ms to every
operation of the filesystem, as a far one has; each process then stands for a host of its own:
nothing local is shared. Afterwards every acknowledged version must be in the store, once.

``without the gate`` is the same SQLite store relying on SQLite's own busy handler. ``retry`` is
the same directory journal whose writers commit their own record alone and try again when another
was first.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from common import folder, percentile

import nemotron.lineage as lineage
from nemotron.lineage.journal.base import Journal
from nemotron.lineage.journal.directory import DirectoryJournal
from nemotron.lineage.journal.gate import Gate
from nemotron.lineage.journal.sqlite import SQLiteJournal
from nemotron.lineage.testing import FaultyFiles

EACH = 50
DELAY = 0.02
# each beside the one that it is compared with
PAIRS = (
    ("sqlite", "sqlite without the gate"),
    ("directory", "directory, retry"),
    ("directory, 20 ms", "directory, 20 ms, retry"),
)


def main(counts: Sequence[int]) -> None:
    """Run every variant with every number of processes, and compare the pairs."""
    for count in counts:
        print(f"\n{count} processes, {EACH} publishes each")
        print(f"{'':26}  lost  twice  errors   per s   p50 ms   p99 ms")
        for ours, other in PAIRS:
            rate, p99 = _show(ours, count)
            other_rate, other_p99 = _show(other, count)
            print(f"{'':26} rate x{rate / other_rate:.1f}, p99 x{p99 / other_p99:.2f}")


def _show(variant: str, count: int) -> tuple[float, float]:
    """Run one variant; return its rate and its p99."""
    with folder() as place:
        _open(variant, place).close()
        workers = [
            subprocess.Popen(
                [sys.executable, __file__, "worker", variant, place, str(number)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for number in range(count)
        ]  # fmt: skip
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()  # it is ready
        began = time.perf_counter()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        answers = [json.loads(worker.communicate()[0]) for worker in workers]
        rate = count * EACH / (time.perf_counter() - began)
        acknowledged = [uri for answer in answers for uri in answer["uris"]]
        times = [seconds for answer in answers for seconds in answer["times"]]
        errors = [error for answer in answers for error in answer["errors"]]
        with lineage.Lineage(_open(variant, place, delay=0)) as store:
            kept = [str(version.uri) for version in store.log("model")]
    lost, twice = len(set(acknowledged) - set(kept)), len(acknowledged) - len(set(acknowledged))
    p50, p99 = statistics.median(times) * 1e3, percentile(times, 99) * 1e3
    print(f"{variant:26} {lost:5} {twice:6} {len(errors):7} {rate:7.0f} {p50:8.1f} {p99:8.1f}")
    assert len(kept) == len(set(kept)) == count * EACH - len(errors), errors[:3]
    return rate, p99


def _open(variant: str, place: Path, *, delay: float = DELAY) -> Journal:
    if variant.startswith("sqlite"):
        return SQLiteJournal(place / "lineage.db")
    if "20 ms" not in variant:
        return DirectoryJournal(place / "lineage")
    return DirectoryJournal(place / "lineage", files=FaultyFiles(delay), cache=None)


def _work(variant: str, place: Path, number: str) -> None:
    """Publish, and say what was acknowledged and how long each took."""
    if "without the gate" in variant:
        Gate.passing = _open_door  # type: ignore[method-assign]
    journal = _open(variant, place)
    journal.slow = journal.slow and "retry" not in variant
    with lineage.Lineage(journal) as store:
        run = store.run(f"worker-{number}")
        answer: dict[str, list[object]] = {"uris": [], "times": [], "errors": []}
        print("ready", flush=True)
        sys.stdin.readline()
        for at in range(EACH):
            began = time.perf_counter()
            try:
                version = run.publish("model", path=f"s3://b/{number}/{at}", type="model")
            except (lineage.LineageError, OSError) as error:
                answer["errors"].append(str(error))
            else:
                answer["uris"].append(str(version.uri))
            answer["times"].append(time.perf_counter() - began)
        print(json.dumps(answer), flush=True)
        sys.stdin.readline()  # closing is nobody's publish


@contextmanager
def _open_door(_: Gate, timeout: float) -> Iterator[None]:
    del timeout
    yield


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        _work(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    else:
        main([int(word) for word in sys.argv[1:]] or [8, 32])
