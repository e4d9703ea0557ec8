"""What a mirror was told is not told again after a store was copied, moved or merged; nor lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nemotron import lineage
from nemotron.lineage.copying import copy_journal
from nemotron.lineage.journal.kinds import open_journal
from nemotron.lineage.merging import merge

pytest.importorskip("openlineage.client", reason="make test-wandb installs it")

ROOT = Path(__file__).parents[3]
KINDS = ["lineage.db", "lineage"]


def _sync(store: Path, status: int = 0) -> str:
    """Deliver what is left of a store to a file beside it, and return what was said."""
    config = store.parent / "openlineage.yml"
    place = str(store.parent / "events")
    config.write_text(json.dumps(
        {"transport": {"type": "file", "log_file_path": place, "append": True}}
    ))  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-m", "nemotron.lineage.cli.main", "sync"], check=False, timeout=120,
        capture_output=True, text=True,
        env={
            **os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns"), "LINEAGE_STORE": str(store),
            "LINEAGE_MIRRORS": "openlineage", "OPENLINEAGE_CONFIG": str(config),
        },
    )  # fmt: skip
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout + result.stderr


def _told(folder: Path) -> list[tuple[str, str, str]]:
    """Return (job, what, run) of the events in the file."""
    events: list[dict[str, Any]] = [
        json.loads(line) for line in (folder / "events").read_text().splitlines()
    ]
    return [(e["job"]["name"], e["eventType"], e["run"]["runId"]) for e in events]


def _copy(source: Path, target: Path, *, end: bool = False) -> None:
    with (
        closing(open_journal(str(source), create=False)) as there,
        closing(open_journal(str(target), adopting=True)) as here,
    ):
        copy_journal(there, here, end=end)


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_run_that_goes_on_after_a_move_is_one_run_and_told_once(
    tmp_path: Path, source: str, target: str
) -> None:
    old, new = tmp_path / f"old-{source}", tmp_path / f"new-{target}"
    with lineage.open(old, environ={}) as store:
        run = store.run("train", id="r1")
        run.publish("m", path="s3://b/1", type="model")
        _sync(old)
        run.publish("m", path="s3://b/2", type="model")  # nobody was told yet
    _copy(old, new, end=True)
    assert "which feeds openlineage from now on. Try: lineage sync --store" in _sync(old, 11)
    _sync(new)
    with lineage.open(new, environ={}) as store:
        run = store.run("train", id="r1")
        run.publish("m", path="s3://b/3", type="model")
        run.end()
    _sync(new)
    _sync(new)
    told = _told(tmp_path)
    assert [what for _, what, _ in told] == ["START", *["RUNNING"] * 3, "COMPLETE"]
    assert len({run for _, _, run in told}) == 1


def test_copy_and_its_source_tell_their_own(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    with lineage.open(old, environ={}) as store, store.run("before") as run:
        run.publish("m", path="s3://b/1", type="model")
    _sync(old)
    _copy(old, new)
    for place, name in ((old, "here"), (new, "there")):
        with lineage.open(place, environ={}) as store, store.run(name) as run:
            run.publish("m", path=f"s3://b/{name}", type="model")
        _sync(place)
    told = [(job, what) for job, what, _ in _told(tmp_path)]
    assert told == [
        (job, what) for job in ("before", "here", "there")
        for what in ("START", "RUNNING", "COMPLETE")
    ]  # fmt: skip


def test_what_was_merged_is_told_by_the_store_that_it_came_from(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    for place in (ours, theirs):
        with lineage.open(place, environ={}) as store, store.run(place.stem) as run:
            run.publish("m", path=f"s3://b/{place.stem}", type="model")
    with lineage.open(ours, environ={}) as here, lineage.open(theirs, environ={}) as there:
        merge(here, there, "partner")
    for place in (ours, theirs, ours):
        _sync(place)
    told = [(job, what) for job, what, _ in _told(tmp_path)]
    assert told == [
        (job, what) for job in ("ours", "theirs") for what in ("START", "RUNNING", "COMPLETE")
    ]  # fmt: skip
