"""Freeze stores of the present form, for tests that open them for ever.

    python tests/upgrade/freeze.py tests/data/frozen/form-2

Run it once when a form changes, never for a form that was released: what is there stays.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "ns"))

from questions import answers

from nemotron.lineage import Input, Lineage, Location, SourceURI, VersionId
from nemotron.lineage import events as ev
from nemotron.lineage.audit import redact
from nemotron.lineage.journal.base import Journal
from nemotron.lineage.journal.directory import DirectoryJournal
from nemotron.lineage.journal.sqlite import SQLiteJournal
from nemotron.lineage.testing import SetClock

CACHES = ("index-*", "ledger-*", "gate", "*-wal", "*-shm")


def main(place: Path) -> None:
    """Freeze one store of each kind."""
    place.mkdir(parents=True)
    for journal in (SQLiteJournal(place / "lineage.db"), DirectoryJournal(place / "lineage")):
        store = Lineage(journal, clock=SetClock(), environ={})
        _fill(store)
        _leave_pending(journal)
        store.close()
    for kind in ("lineage.db", "lineage"):
        with TemporaryDirectory() as folder:
            # the first reader takes the pending record, so ask a copy
            copytree(place, Path(folder) / "copy")
            with Lineage(_open(Path(folder) / "copy" / kind), clock=SetClock(), environ={}) as copy:
                text = json.dumps(answers(copy), indent=1, sort_keys=True)
        (place / f"{kind}.json").write_text(text + "\n")
    for pattern in CACHES:
        for path in place.rglob(pattern):
            path.unlink()


def _open(place: Path) -> Journal:
    return SQLiteJournal(place) if place.suffix == ".db" else DirectoryJournal(place)


def _fill(store: Lineage) -> None:
    """Commit every kind of event."""
    tokens, model = VersionId("tokens?sample=100", 1), VersionId("model", 1)
    source = Input(target=SourceURI("hf://org/raw"), role="data", revision="main", tokens=10)
    used = Input(target=tokens, role="data", weight=0.7, split="train")
    for event in (
        ev.RunStarted(run="prep", name="prep", job_type="data-prep", host="node-1", user="ana"),
        ev.Used(run="prep", input=source, asked="hf://org/raw@main"),
        ev.Published(
            name=tokens.name, type="dataset", run="prep", location=Location("s3://b/tokens"),
            metadata={"total_tokens": 10, "nested": {"a": [1, None, True, 1.5]}},
        ),
        ev.RunEnded(run="prep", status="ok"),
        ev.RunStarted(
            run="sft", name="sft", config={"lr": 1e-4}, host="node-1", user="ana", parent="prep",
            argv=("train.py", "--lr=1e-4"), detail={"git": {"commit": "c" * 40, "dirty": True}},
        ),
        ev.Used(run="sft", input=used, asked="art://tokens?sample=100"),
        _checkpoint(1, "a", loss=2.5),
        _checkpoint(2, "b", loss=2.25),
        _checkpoint(1, "c", non_finite=("loss",)),
        ev.AliasMoved(name="model", alias="best", to=2, by="ana"),
        ev.Described(version=VersionId("model", 2), metadata={"eval": 0.5}),
        ev.Sealed(version=VersionId("model", 2), digest="blake3:" + "d" * 64, size=7, files=1),
        ev.Missing(version=VersionId("model", 2)),
        ev.Found(version=VersionId("model", 2)),
        ev.Relocated(version=VersionId("model", 2), location=Location("s3://b/moved")),
        ev.Held(version=VersionId("model", 2), reason="release", held=True),
        ev.Deleted(version=model, run="sft", reason="disk is full"),
        ev.JobPinned(job="job-7", pins={"art://model": "art://model:v2"}),
        ev.Receipt(mirror="wandb", delivered={"model": "team/project/model:v0"}),
        ev.Imported(
            name="old", number=4, type="model", location=Location("s3://b/old"),
            origin={"system": "manifest"}, aliases=("prod",), inputs=(used,),
            created="2025-01-01T00:00:00.000000Z",
        ),
        ev.RunEnded(run="sft", status="failed", error="CUDA out of memory"),
    ):  # fmt: skip
        store.commit(event)
    redact(store, "model:v3", "a name in its path")


def _checkpoint(
    path: int, content: str, non_finite: tuple[str, ...] = (), **metadata: float
) -> ev.Published:
    return ev.Published(
        name="model", type="model", run="sft", location=Location(f"/out/{path}", "node-1"),
        fingerprint=f"fp1:{content * 64}", metadata={"loss": None, **metadata},
        non_finite=non_finite, aliases=(f"step_{path}",),
    )  # fmt: skip


def _leave_pending(journal: Journal) -> None:
    writer = journal.intakes.writer({"run": "sft", "host": "node-1"})
    writer.append(_checkpoint(4, "e", loss=2.0))
    writer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
