"""What another journal holds comes in under a namespace, and overwrites nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import Lineage, PublishRefused, State, StoreError, audit
from nemotron.lineage.copying import copy_journal
from nemotron.lineage.journal.kinds import open_journal
from nemotron.lineage.merging import merge


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Lineage]:
    """The store of a partner."""
    with lineage.open(tmp_path / "partner") as store:
        with store.run("prep", config={"seed": 7}) as run:
            run.use("hf://org/raw@main", weight=0.5)
            run.publish("data", path="s3://p/data", type="dataset", aliases=["best"])
        with store.run("train") as run:
            run.use("data:best", role="data")
            run.publish("model?size=8b", path="s3://p/1", type="model", metadata={"loss": 2.5})
            run.publish("model?size=8b", path="s3://p/2", type="model", aliases=["prod"])
        yield store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Lineage]:
    with lineage.open(tmp_path / "ours.db") as store:
        with store.run("own") as run:
            run.publish("model", path="s3://o/1", type="model")
        yield store


def test_everything_comes_in_under_the_namespace(store: Lineage, other: Lineage) -> None:
    report = merge(store, other, "partner")
    assert dict(report.imported) == {"partner/data": 1, "partner/model?size=8b": 2}
    assert (report.changed, report.conflicts) == (0, [])
    version = store.resolve("partner/model?size=8b:v1")
    theirs = other.resolve("model?size=8b:v1")
    assert (version.address, dict(version.metadata)) == ("s3://p/1", {"loss": 2.5})
    assert (version.occurred, version.run) == (theirs.occurred, theirs.run)
    assert store.resolve("partner/model?size=8b:prod").number == 2
    ancestors = store.lineage("partner/model?size=8b:v2").ancestors()
    assert [str(node) for node in ancestors] == ["hf://org/raw", "art://partner/data:v1"]
    (edge,) = store.lineage("partner/data").inputs()
    assert edge.detail == {"weight": 0.5, "revision": "main"}
    run = store.run_info(version.run or "")
    assert (run.name, run.status) == ("train", "ok")
    assert run.started == other.run_info(version.run or "").started
    assert store.resolve("model").address == "s3://o/1"
    assert audit.fsck(store).is_clean


def test_doing_it_again_changes_nothing(store: Lineage, other: Lineage) -> None:
    merge(store, other, "partner")
    before = store.journal.head()
    report = merge(store, other, "partner")
    assert dict(report.there) == {"partner/data": 1, "partner/model?size=8b": 2}
    assert not report.imported
    assert store.journal.head() == before


def test_news_come_in_later(store: Lineage, other: Lineage) -> None:
    merge(store, other, "partner")
    with other.run("train") as run:
        run.use("model?size=8b:v2", role="init")
        run.publish("model?size=8b", path="s3://p/3", type="model", aliases=["prod"])
    other.retire("model?size=8b:v1", "too old")
    other.describe("model?size=8b:v2", {"eval": 0.5})
    report = merge(store, other, "partner")
    assert dict(report.imported) == {"partner/model?size=8b": 1}
    assert report.changed == 3
    assert report.conflicts == []
    assert store.version("partner/model?size=8b:v1").state is State.DELETED
    assert store.resolve("partner/model?size=8b:v2").metadata == {"eval": 0.5}
    assert store.resolve("partner/model?size=8b:prod").number == 3
    assert merge(store, other, "partner").changed == 0


def test_what_was_said_here_stays_and_is_reported(store: Lineage, other: Lineage) -> None:
    merge(store, other, "partner")
    store.describe("partner/model?size=8b:v1", {"loss": 1.0, "note": "ours"})
    store.alias("partner/model?size=8b:v1", "prod")
    store.hold("partner/data:v1", "audit")
    other.retire("data:v1", "gone")
    head = store.journal.head()
    report = merge(store, other, "partner")
    assert len(report.conflicts) == 3
    assert any("metadata 'loss'" in sentence for sentence in report.conflicts)
    assert any("alias 'prod'" in sentence for sentence in report.conflicts)
    assert any("held (audit)" in sentence for sentence in report.conflicts)
    assert store.journal.head() == head


def test_name_that_is_published_here_is_left_out_whole(store: Lineage, other: Lineage) -> None:
    with store.run("own") as run:
        run.publish("partner/data", path="s3://o/data", type="dataset")
    report = merge(store, other, "partner")
    assert len(report.conflicts) == 1
    assert "art://partner/data is published here" in report.conflicts[0]
    assert store.resolve("partner/data").address == "s3://o/data"
    assert dict(report.imported) == {"partner/model?size=8b": 2}


def test_two_partners_under_one_namespace_are_told_apart(
    store: Lineage, other: Lineage, tmp_path: Path
) -> None:
    merge(store, other, "partner")
    with lineage.open(tmp_path / "second") as second:
        with second.run("x") as run:
            run.publish("data", path="s3://second", type="dataset")
        report = merge(store, second, "partner")
        assert "came from" in report.conflicts[0]
        assert store.resolve("partner/data").address == "s3://p/data"
        assert merge(store, second, "second").conflicts == []


def test_transfer_files_of_one_store_are_one_origin(
    store: Lineage, other: Lineage, tmp_path: Path
) -> None:
    for number in (1, 2):
        name = str(tmp_path / f"transfer-{number}.db")
        with closing(open_journal(name)) as target:
            copy_journal(other.journal, target)
        with lineage.open(name) as carried:
            report = merge(store, carried, "partner")
        assert sum(report.imported.values()) == (3 if number == 1 else 1)
        assert report.conflicts == []
        with other.run("more") as run:
            run.publish("data", path=f"s3://p/more/{number}", type="dataset")


def test_ended_store_takes_nothing_in(store: Lineage, other: Lineage, tmp_path: Path) -> None:
    with closing(open_journal(str(tmp_path / "new.db"))) as target:
        copy_journal(store.journal, target, end=True)
    with pytest.raises(StoreError, match=r"ended and goes on as .*; merge into that one"):
        merge(store, other, "partner")
    assert [a.name for a in store.artifacts() if a.name.startswith("partner/")] == []


def test_store_is_not_merged_into_itself(store: Lineage, tmp_path: Path) -> None:
    with pytest.raises(PublishRefused, match="same history"):
        merge(store, store, "x")


@pytest.mark.parametrize("namespace", ["", "a b", "x:v1", "../x", "/x", "x?y=1"])
def test_namespace_that_is_none_is_refused(store: Lineage, other: Lineage, namespace: str) -> None:
    with pytest.raises(PublishRefused, match="cannot be a namespace"):
        merge(store, other, namespace)
