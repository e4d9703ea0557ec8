"""What does a publish cost, against one bare SQLite insert that is as durable?

    python benchmarks/publish.py [rounds]

A publish here has three inputs, 15 metadata keys and an alias. The bare insert writes 1,000
characters with ``synchronous=FULL``. Also: does it grow with the versions of the name?
"""

from __future__ import annotations

import sqlite3
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from common import folder, in_turn, report

import nemotron.lineage as lineage
from nemotron.lineage import Run, Version

Publish = Callable[[int], Version]
METADATA = {f"key_{n}": n * 1.5 for n in range(13)} | {"optimizer": "adam", "precision": "bf16"}


def bare(place: Path) -> Callable[[int], object]:
    """Insert a row and be sure that it is on the disk."""
    db = sqlite3.connect(place, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT)")
    text = "x" * 1000
    return lambda _: db.execute("INSERT INTO t(text) VALUES(?)", (text,))


def publisher(address: Path, files: Path) -> tuple[Run, Publish]:
    """Publish one file after the other under one name."""
    store = lineage.open(address)
    run = store.run("bench")
    inputs = []
    for name in ("data", "tokenizer", "base"):
        path = files / name
        path.touch()
        inputs.append(run.publish(name, path=path, type="dataset"))

    def publish(at: int) -> Version:
        return run.publish(
            "model", path=files / f"{at}", type="model", inputs=inputs,
            metadata={**METADATA, "step": at}, aliases=["newest"],
        )  # fmt: skip

    return run, publish


def main(rounds: int) -> None:
    """Compare, then grow."""
    with folder() as place:
        files = place / "files"
        files.mkdir()
        for at in range(max(rounds, 12_000)):
            (files / f"{at}").write_text(f"{at}")
        _, to_sqlite = publisher(place / "lineage.db", files)
        _, to_folder = publisher(place / "lineage", files)
        for name, publish in {"sqlite": to_sqlite, "directory": to_folder}.items():
            # pairs, so that one store's writes do not wait for the other's
            variants = {"bare insert": bare(place / f"{name}.db"), f"publish, {name}": publish}
            report(f"publish, {rounds} rounds", in_turn(variants, rounds), "bare insert")

        with folder() as other:
            _, publish = publisher(other / "grow.db", files)
            first = in_turn({"publish": publish}, 200)["publish"][10:]
            for at in range(200, 10_000):
                publish(at)
            last = in_turn({"publish": lambda at: publish(10_000 + at)}, 200)["publish"]
            growth = statistics.median(last) / statistics.median(first)
            print(f"\npublish with 10,000 versions of the name against 10: {growth:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
