"""Freeze stores of the present form, for tests that open them for ever.

    python tests/upgrade/freeze.py tests/data/frozen/form-2 [kind ...]

Run it once when a form changes, never for a form that was released: what is there stays. It needs
a PostgreSQL server and the endpoint of the tests.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "ns"))

from tests.servers import BucketServer, postgres_server
from tests.upgrade import frozen
from tests.upgrade.questions import answers

from nemotron.lineage import Input, Lineage, Location, SourceURI, VersionId
from nemotron.lineage import events as ev
from nemotron.lineage.audit import redact
from nemotron.lineage.journal import base, numbered
from nemotron.lineage.journal.base import Journal
from nemotron.lineage.journal.bucket import Bucket
from nemotron.lineage.journal.directory import DirectoryJournal
from nemotron.lineage.journal.objectstore import ObjectStoreJournal
from nemotron.lineage.journal.postgres import SCHEMA, PostgresJournal
from nemotron.lineage.journal.sqlite import SQLiteJournal
from nemotron.lineage.testing import SetClock

CACHES = ("cache", "index-*", "ledger-*", "gate", "*-wal", "*-shm")


def main(place: Path, kinds: Sequence[str]) -> None:
    """Freeze one store of each kind."""
    place.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        with TemporaryDirectory() as folder, ExitStack() as stack:
            found = FREEZE.get(kind, _freeze_files)(kind, place, Path(folder), stack)
            text = json.dumps(found, indent=1, sort_keys=True)
        (place / f"{frozen.KINDS[kind]}.json").write_text(text + "\n")
    for pattern in CACHES:
        for path in place.rglob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _freeze_files(kind: str, place: Path, folder: Path, stack: ExitStack) -> object:
    del stack
    journal = _open(place / frozen.KINDS[kind])
    if kind == "packed":  # a few commits a pack, so that there are packs
        base.BATCH = numbered.BATCH = 5
    _write(journal)
    if isinstance(journal, DirectoryJournal) and kind == "packed":
        journal.tidy(age=-1)
        assert journal.shelf.names("packs")
    # the first reader takes the pending record, so ask a copy
    return _ask(_open(Path(frozen.thaw_files(place, kind, folder / "copy"))))


def _freeze_bucket(kind: str, place: Path, folder: Path, stack: ExitStack) -> object:
    server = BucketServer()
    stack.callback(server.stop)
    buckets = [Bucket(server.address(name), server.environ()) for name in ("one", "copy")]
    waiting = str(folder / "waiting")
    _write(ObjectStoreJournal("s3://stores/one", waiting=waiting, cache=None, bucket=buckets[0]))
    bucket = Bucket(server.address("one"), server.environ())
    frozen.freeze_bucket(bucket, place / frozen.KINDS[kind])
    frozen.thaw_bucket(place / frozen.KINDS[kind], buckets[1])
    return _ask(
        ObjectStoreJournal("s3://stores/copy", waiting=waiting, cache=None, bucket=buckets[1])
    )


def _freeze_database(kind: str, place: Path, folder: Path, stack: ExitStack) -> object:
    server = stack.enter_context(postgres_server())
    waiting = str(folder / "waiting")
    _write(PostgresJournal(server.address(frozen.SCHEMA), waiting=waiting, cache=None))
    frozen.freeze_database(server, SCHEMA, place / frozen.KINDS[kind])
    address = frozen.thaw_database(place / frozen.KINDS[kind], server, "copy")
    return _ask(PostgresJournal(address, waiting=waiting, cache=None))


FREEZE = {"objects": _freeze_bucket, "postgres": _freeze_database}


def _open(place: Path) -> Journal:
    return SQLiteJournal(place) if place.suffix == ".db" else DirectoryJournal(place)


def _write(journal: Journal) -> None:
    with Lineage(journal, clock=SetClock(), environ={}) as store:
        _fill(store)
        # where others see it: hooks of journals that are far away leave records on their host
        far = isinstance(journal, (ObjectStoreJournal, PostgresJournal))
        about = {"run": "sft", "host": "node-1"}
        writer = journal.intakes.crowd(about) if far else journal.intakes.writer(about)
        writer.append(_checkpoint(4, "e", loss=2.0))
        writer.close()


def _ask(journal: Journal) -> object:
    with Lineage(journal, clock=SetClock(), environ={}) as store:
        return answers(store)


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


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or list(frozen.KINDS))
