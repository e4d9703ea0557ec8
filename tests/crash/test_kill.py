"""Writers are killed at random moments: what was acknowledged is there, once, without gaps."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import audit

from .conftest import Start

# Tells of every version right after publish returned: what is printed was acknowledged.
PUBLISH = """
import sys
import nemotron.lineage as lineage
from nemotron.lineage.testing import publish
store = lineage.open(sys.argv[1])
for n in range(10**9):
    version = store.commit(publish(path=f"/{sys.argv[2]}/{n}", aliases=("newest",))).version
    sys.stdout.write(f"{version} /{sys.argv[2]}/{n}\\n")
    sys.stdout.flush()
"""
# The hook form: an id at once, the number later.
RECORD = """
import sys
import nemotron.lineage as lineage
from nemotron.lineage.testing import publish
store = lineage.open(sys.argv[1])
writer = store.intake_writer(None, run="r")
for n in range(10**9):
    writer.append(publish(path=f"/{sys.argv[2]}/{n}"))
    sys.stdout.write(f"recorded /{sys.argv[2]}/{n}\\n")
    sys.stdout.flush()
"""
ROUNDS = 3


@pytest.mark.parametrize("address", ["lineage.db", "lineage"])
def test_killed_writers_lose_nothing_that_was_acknowledged(
    tmp_path: Path, address: str, start: Start
) -> None:
    place = tmp_path / address
    lineage.open(place).close()
    told: dict[str, str] = {}
    recorded: set[str] = set()
    draw = random.Random(7)
    writer = 0
    for _ in range(ROUNDS):
        processes = []
        for at in range(8):
            writer += 1
            processes.append(start(RECORD if at % 4 == 3 else PUBLISH, place, writer))
        outputs = [process.stdout for process in processes if process.stdout is not None]
        lines = [output.readline() for output in outputs]
        time.sleep(draw.random() * 0.4)
        draw.shuffle(processes)
        for process in processes:
            time.sleep(draw.random() * 0.01)
            process.kill()
        for output in outputs:
            lines += output.readlines()
        for line in lines:
            if line.endswith("\n"):  # a line that was cut off tells of nothing
                what, path = line.split()
                if what == "recorded":
                    recorded.add(path)
                else:
                    told[path] = what
    with lineage.open(place) as store:
        store.combine()
        versions = store.log("model")
        found = {version.address: str(version.uri) for version in versions}
        report = audit.fsck(store)
    assert len(told) > 50
    assert len(recorded) > 50
    assert {path: found.get(path) for path in told} == told
    assert recorded <= found.keys()
    assert len(found) == len(versions), "a record was taken twice"
    assert sorted(version.number for version in versions) == list(range(1, len(versions) + 1))
    assert report.is_clean, report.damage
    assert report.pending == 0


@pytest.mark.parametrize("address", ["lineage.db", "lineage"])
def test_many_writers_at_once_lose_and_duplicate_nothing(
    tmp_path: Path, address: str, start: Start
) -> None:
    code = PUBLISH.replace("10**9", "25")
    lineage.open(tmp_path / address).close()
    processes = [start(code, tmp_path / address, n) for n in range(8)]
    told = [
        line.split()[0] for process in processes for line in process.communicate()[0].splitlines()
    ]
    assert sorted(told) == sorted(f"art://model:v{n}" for n in range(1, 201))
    with lineage.open(tmp_path / address) as store:
        assert audit.fsck(store).is_clean
        assert store.resolve("model:newest").number == store.moves("model")[-1].version


@pytest.mark.parametrize("address", ["lineage.db", "lineage"])
def test_stores_that_are_created_at_once_are_one_store(
    tmp_path: Path, address: str, start: Start
) -> None:
    code = "import sys, nemotron.lineage as l; print(l.open(sys.argv[1]).journal.id)"
    processes = [start(code, tmp_path / address) for _ in range(8)]
    assert len({process.communicate()[0] for process in processes}) == 1


@pytest.mark.parametrize("address", ["lineage.db", "lineage"])
def test_process_killed_right_after_a_hook_returns_leaves_the_record(
    tmp_path: Path, address: str, start: Start
) -> None:
    code = RECORD.replace("10**9", "1") + "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    process = start(code, tmp_path / address, 1)
    process.communicate()
    with lineage.open(tmp_path / address) as store:
        assert store.resolve("model").address == "/1/0"
