"""How long does it take to resolve a reference, cold in the shell and warm in a program?

    python benchmarks/resolve.py [rounds]

Runs with the interpreter that runs this, in which nemotron-lineage should be installed as a wheel
(``make demo`` does that): an editable install makes every start of Python slower, ours and the
one that it is compared with.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from common import folder, in_turn, report

import nemotron.lineage as lineage


def main(rounds: int) -> None:
    """Compare cold starts with ``python -c pass``, and time warm calls."""
    command = Path(sys.executable).parent / "lineage"
    with folder() as place:
        address = place / "lineage.db"
        with lineage.open(address) as store, store.run("bench") as run:
            for at in range(1000):
                run.publish(
                    "model", path=f"s3://bucket/{at}", type="model",
                    metadata={"loss": 1.5, "step": at}, aliases=["best"],
                )  # fmt: skip
            store.resolve("model")
            store.commit  # noqa: B018 - the store stays open beside the commands, as in real life
            cold = {
                "python -c pass": _start(sys.executable, "-c", "pass"),
                "lineage resolve": _start(command, "resolve", "model:best", "--store", address),
                "import nemotron.lineage": _start(sys.executable, "-c", "import nemotron.lineage"),
                "import nemotron.kit": _start(sys.executable, "-c", "import nemotron.kit"),
                "import sqlite3": _start(sys.executable, "-c", "import sqlite3"),
            }
            report("cold", in_turn(cold, rounds), "python -c pass")
        with lineage.open(address) as store:
            warm = {
                f"store.resolve({reference!r})": lambda _, r=reference: store.resolve(r)  # type: ignore[misc]
                for reference in ("art://model:best", "model", "model:v77")
            }
            in_turn(warm, 100)
            report("warm", in_turn(warm, 5000), next(iter(warm)))


def _start(*words: str | Path) -> Callable[[int], object]:
    return lambda _: subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
