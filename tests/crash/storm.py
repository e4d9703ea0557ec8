"""A writer of the storm: tells of every version right after its publish returned.

    python storm.py ADDRESS NUMBER DELAY FOLDER

With a delay, every operation of the place takes so many seconds longer, and this process stands
for a host of its own: its caches lie in FOLDER.
"""

from __future__ import annotations

import os
import sys
import time

import nemotron.lineage as lineage
from nemotron.lineage import Lineage
from nemotron.lineage.journal.kinds import folder_beside
from nemotron.lineage.testing import FaultyBucket, FaultyFiles, publish


def main(address: str, number: int, delay: float, folder: str) -> None:
    """Write until killed; one in four does so as a hook does."""
    store = _open(address, delay, folder)
    hook = store.intake_writer(None, run="r") if number % 4 == 3 else None
    for n in range(10**9):
        path = f"/{number}/{n}"
        began = time.perf_counter()
        if hook is not None:
            hook.append(publish(path=path))
            told = "recorded"
        else:
            told = str(store.commit(publish(path=path, aliases=("newest",))).version)
        took = time.perf_counter() - began
        # what was written to the file as a whole line was acknowledged
        os.write(1, f"{told} {path} {took * 1e3:.3f}\n".encode("ascii"))
        if hook is not None:
            time.sleep(0.02)  # as after a step of training


def _open(address: str, delay: float, folder: str) -> Lineage:
    if delay and address.startswith("s3://"):
        from nemotron.lineage.journal.objectstore import ObjectStoreJournal

        bucket = FaultyBucket(address, os.environ, delay=delay)
        waiting = folder_beside(address, "intake")
        assert waiting is not None
        return Lineage(ObjectStoreJournal(address, waiting=waiting, cache=folder, bucket=bucket))
    if delay and "://" not in address:
        from nemotron.lineage.journal.directory import DirectoryJournal

        return Lineage(DirectoryJournal(address, files=FaultyFiles(delay), cache=folder))
    return lineage.open(address)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
