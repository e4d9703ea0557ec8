"""What does the digest of a checkpoint cost, against md5 of it and against reading it at all?

    python benchmarks/seal.py [rounds]

md5 is taken as other trackers take it: file after file, by hashlib, in one thread. All files lie in
the page cache; from a cold disk everybody waits for the disk. Threads only help on free cores.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import sys
import time
from pathlib import Path

from common import Timings, folder, in_turn

import nemotron.lineage as lineage
from nemotron.lineage.digests import digest_listing
from nemotron.lineage.listing import Listing
from nemotron.lineage.pace import Pace
from nemotron.lineage.remembered import Remembered

BIG, FILES = 512 << 20, 4  # bytes a file, files of the checkpoint
SMALL = (8 << 10, 64 << 10)  # bytes a file of the trees of many files
MANY = 10_000
BLOCK = 1 << 20


def main(rounds: int) -> None:
    with folder() as place:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        checkpoint = place / "checkpoint"
        checkpoint.mkdir()
        noise = os.urandom(16 << 20)
        for at in range(FILES):
            with (checkpoint / f"__{at}_0.distcp").open("wb") as file:
                for _ in range(BIG // len(noise)):
                    file.write(noise)
        _compare(f"{FILES} files of {BIG >> 20} MiB", checkpoint, rounds)
        _compare(f"one file of {BIG >> 20} MiB", checkpoint / "__0_0.distcp", rounds)
        for size in SMALL:
            tree = place / f"tree-{size}"
            for at in range(MANY):
                path = tree / f"{at % 100:02}" / f"{at}.bin"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(noise[at : at + size])
            _compare(f"{MANY} files of {size >> 10} KiB", tree, rounds)
        _start(place, rounds * 4)


def _compare(title: str, path: Path, rounds: int) -> None:
    cache = str(path.parent / "cache")

    def again(_: int) -> None:
        with Remembered(cache) as memory:
            listing = Listing.of(path)
            digest_listing(listing, Pace(listing.size), memory=memory)

    variants = {
        "md5, one thread": lambda _: _md5(path),
        "digest": lambda _: lineage.digest(path),
        "digest again, unchanged": again,
        "reading alone": lambda _: _read(path),
        "stat alone": lambda _: Listing.of(path),
    }
    in_turn(variants, 1)
    times = in_turn(variants, rounds)
    _report(title, times, Listing.of(path).size)


def _report(title: str, times: Timings, size: int) -> None:
    print(f"\n{title}\n{'':28} {'p50 ms':>10} {'GB/s':>8} {'x md5':>8} {'of reading':>11}")
    p50 = {name: statistics.median(values) for name, values in times.items()}
    for name, each in p50.items():
        faster, part = p50["md5, one thread"] / each, p50["reading alone"] / each
        print(f"{name:28} {each * 1e3:10.1f} {size / each / 1e9:8.2f} {faster:8.1f} {part:11.0%}")


def _files(path: Path) -> list[str]:
    if path.is_file():
        return [str(path)]
    return [os.path.join(where, name) for where, _, names in os.walk(path) for name in names]


def _md5(path: Path) -> None:
    for name in _files(path):
        value = hashlib.md5()
        with open(name, "rb") as file:
            while block := file.read(BLOCK):
                value.update(block)


def _read(path: Path) -> None:
    buffer = bytearray(BLOCK)
    for name in _files(path):
        descriptor = os.open(name, os.O_RDONLY)
        while os.readv(descriptor, [buffer]):
            pass
        os.close(descriptor)


def _start(place: Path, rounds: int) -> None:
    """How long is the caller held up by starting the sealer, small and with a large memory?"""
    address = place / "lineage.db"
    lineage.open(address).close()
    for title, ballast in (("a small process", 0), ("a process of 4 GB", 4 << 30)):
        held = bytearray(ballast)
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            lineage.start_sealing(address, patience=0)
            times.append(time.perf_counter() - began)
            time.sleep(0.5)  # for the sealer to end
        del held
        print(f"\nstart_sealing in {title}: {statistics.median(times) * 1e3:.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
