"""What the benchmarks share: variants in turn, medians, and ratios against the first."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools" / "ns"))

Timings = dict[str, list[float]]


@contextmanager
def folder() -> Iterator[Path]:
    """Give an empty folder on the disk of the working folder (or BENCH_FOLDER), removed after."""
    path = Path(tempfile.mkdtemp(prefix="lineage-bench-", dir=os.environ.get("BENCH_FOLDER", ".")))
    try:
        yield path.resolve()
    finally:
        shutil.rmtree(path, ignore_errors=True)


def in_turn(variants: Mapping[str, Callable[[int], object]], rounds: int) -> Timings:
    """Time the variants one after the other, round by round: a drifting machine hits them alike."""
    timings: Timings = {name: [] for name in variants}
    for at in range(rounds):
        for name, act in variants.items():
            began = time.perf_counter()
            act(at)
            timings[name].append(time.perf_counter() - began)
    return timings


def report(title: str, timings: Mapping[str, Sequence[float]], against: str) -> None:
    """Print p50 and p99 in microseconds, and the ratio of the medians to ``against``."""
    print(f"\n{title}\n{'':42} {'p50 us':>10} {'p99 us':>10} {'ratio':>8}")
    base = statistics.median(timings[against])
    for name, values in timings.items():
        p50, p99 = statistics.median(values), percentile(values, 99)
        print(f"{name:42} {p50 * 1e6:10.0f} {p99 * 1e6:10.0f} {p50 / base:8.2f}")


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that ``percent`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
