"""What does a record in the training loop cost, against one bare durable append?

    python benchmarks/record.py [rounds]

Also beside threads that keep the interpreter busy: every call that releases its lock may wait for
a switch, so a record makes one such call.
"""

from __future__ import annotations

import os
import sys
import threading

from common import folder, in_turn, report

import nemotron.lineage as lineage


def main(rounds: int) -> None:
    """Compare beside 0, 1 and 2 busy threads."""
    with folder() as place:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_DSYNC
        descriptor = os.open(place / "bare", flags)
        line = b"x" * 600
        checkpoint = place / "iter_0000100"
        checkpoint.mkdir()
        (checkpoint / "train_state.json").write_text('{"step": 100}')
        with lineage.open(place / "lineage.db") as store, store.run("bench") as run:
            facts = {"type": "model", "metadata": {"loss": 2.5}}
            variants = {
                "one os.write on an O_DSYNC file": lambda _: os.write(descriptor, line),
                "run.record of an address": lambda at: run.record(
                    "remote", path="s3://bucket/model", aliases=[f"step_{at}"], **facts
                ),
                "run.record of a folder": lambda at: run.record(
                    "model", path=checkpoint, aliases=[f"step_{at}"], **facts
                ),
                "run.record_deleted": lambda _: run.record_deleted(checkpoint),
            }
            in_turn(variants, 20)
            for busy in (0, 1, 2):
                stop = threading.Event()
                threads = [threading.Thread(target=_spin, args=(stop,)) for _ in range(busy)]
                for thread in threads:
                    thread.start()
                times = in_turn(variants, rounds if not busy else rounds // 5)
                stop.set()
                for thread in threads:
                    thread.join()
                report(f"beside {busy} busy threads", times, next(iter(variants)))


def _spin(stop: threading.Event) -> None:
    total = 0
    while not stop.is_set():
        for n in range(1000):
            total += n


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
