"""Many ranks that start at different moments, while somebody goes on publishing."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import open as open_store

from .conftest import Start

RANK = """
import json, sys, time
from nemotron.lineage import LineageError, pin_job
time.sleep(float(sys.argv[2]))
try:
    pins = pin_job(["model:latest"], store=sys.argv[1])
    print(json.dumps(pins["model:latest"].uri))
except LineageError as error:
    print(json.dumps(f"{type(error).__name__}: {error}"))
"""
PUBLISHER = """
import sys, time
from nemotron import lineage
with lineage.open(sys.argv[1]) as store, store.run("publisher") as run:
    for at in range(10_000):
        run.publish("model", path=f"s3://b/{at}", type="model")
        if at == 0:
            print("ready", flush=True)
        time.sleep(0.01)
"""


def _job(
    start: Start,
    address: str | Path,
    job: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    ranks: int,
    over: int,
) -> set[str]:
    """Start the ranks of a job over some seconds; return what they say the reference means."""
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", str(ranks))
    monkeypatch.setenv("SLURM_NTASKS", str(ranks))
    rng = random.Random(3)
    started = [start(RANK, address, rng.uniform(0, over)) for _ in range(ranks)]
    return {json.loads(rank.communicate(timeout=60)[0]) for rank in started}


@pytest.mark.parametrize(
    ("place", "ranks", "over"),
    [
        ("sqlite", 64, 5), ("directory", 16, 1), ("objects", 16, 1),
        pytest.param("postgres", 16, 1, marks=pytest.mark.postgres),
    ],
    indirect=["place"],
)  # fmt: skip
def test_ranks_agree_while_versions_are_published(
    place: str, ranks: int, over: int, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = place
    publisher = start(PUBLISHER, address)
    assert publisher.stdout is not None
    publisher.stdout.readline()
    first = _job(start, address, "1", monkeypatch, ranks=ranks, over=over)
    assert len(first) == 1
    time.sleep(0.1)
    second = _job(start, address, "2", monkeypatch, ranks=ranks, over=over)
    assert len(second) == 1
    publisher.kill()
    with open_store(address) as store:
        one, two = (store.version(uri) for uri in (*first, *second))
        assert one.number < two.number


def test_failure_is_raised_on_every_rank(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lineage.open(tmp_path / "lineage.db") as store:
        assert store.artifacts() == []
    began = time.monotonic()
    answers = _job(start, tmp_path / "lineage.db", "1", monkeypatch, ranks=16, over=1)
    assert time.monotonic() - began < 60
    assert all("no artifact 'model'" in answer for answer in answers)
