"""The one face: what people do with a store, on every kind of journal."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nemotron import lineage
from nemotron.lineage import (
    ANY,
    ArtifactGone,
    ArtifactNotFoundError,
    ArtifactVersionNotFoundError,
    Conflict,
    Input,
    Lineage,
    LineageError,
    MetadataError,
    PathNotFoundError,
    PayloadRedacted,
    PublishRefused,
    Run,
    RunStatus,
    Source,
    SourceURI,
    State,
    StoreClosed,
    StoreUnsuitable,
    URIError,
    Version,
    VersionId,
    audit,
)
from nemotron.lineage.cli.fast import resolve as fast_resolve
from nemotron.lineage.events import Used


@pytest.fixture
def run(store: Lineage) -> Run:
    return store.run("train", job_type="training")


def _publish(run: Run, path: Path, name: str = "model", **facts: object) -> Version:
    return run.publish(name, path=path, type="model", **facts)  # type: ignore[arg-type]  # any facts


# ------------------------------------------------------------------ publish, resolve


def test_published_version_is_what_resolve_gives(store: Lineage, run: Run, out: Path) -> None:
    version = _publish(run, out, metadata={"loss": np.float32(0.5)}, aliases=["best", "step_1"])
    assert str(version.uri) == "art://model:v1"
    assert version.path == out.resolve()
    assert version.metadata == {"loss": 0.5}
    assert version.aliases == ("best", "step_1")
    for reference in ("model", "art://model:latest", "model:v1", "model:1", "model:best"):
        assert store.resolve(reference) == version


def test_relative_path_is_made_absolute(run: Run, out: Path) -> None:
    assert _publish(run, Path("out")).path == out.resolve()


def test_identity_holds_path_and_variant(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out, "nano3/sft/data?sample=100")
    assert store.resolve("nano3/sft/data?sample=100").number == 1
    with pytest.raises(ArtifactNotFoundError):
        store.resolve("nano3/sft/data")


def test_file_inside_is_resolved(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out)
    inside = store.resolve("art://model#config.json")
    assert inside.path == out.resolve() / "config.json"
    assert str(inside.uri) == "art://model:v1#config.json"


def test_digest_checks_what_the_selector_selected(store: Lineage, run: Run, out: Path) -> None:
    version = _publish(run, out, digest="now")
    assert version.digest is not None
    assert store.resolve(f"model@{version.digest[:20]}") == version
    for look in (store.resolve, store.version):
        with pytest.raises(Conflict, match="has digest blake3:"):
            look("model@blake3:00000000")
    (out / "more").touch()
    _publish(run, out)
    with pytest.raises(Conflict, match="has no digest yet"):
        store.resolve("model@blake3:00000000")


def test_inputs_of_a_run_are_what_it_used_so_far(store: Lineage, out: Path) -> None:
    with store.run("data") as run:
        _publish(run, out)
        assert store.inputs(f"run:{run.id}") == []
    with store.run("exam") as run:
        run.use("model", role="eval", weight=0.5)
        run.publish("report", path="s3://bucket/report", type="report")
        run.use("hf://org/questions@main")
        found = store.inputs(f"run:{run.id}")
    assert [(each.role, str(each.target), each.weight) for each in found] == [
        ("data", "hf://org/questions", None), ("eval", "art://model:v1", 0.5),
    ]  # fmt: skip
    with pytest.raises(ArtifactNotFoundError, match="there is no run"):
        store.inputs("run:nope")


def test_moment_that_is_none_is_named(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out)
    with pytest.raises(ValueError, match="at='yesterday' is no commit number and no time"):
        store.resolve("model", at="yesterday")


@pytest.mark.parametrize("name", ["x", "x.db", "below/x", "below/x.db"])
def test_store_below_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnsuitable, match="would lie below a file"):
        lineage.open(tmp_path / "file" / name)


def test_address_is_external_and_has_no_path(store: Lineage, run: Run) -> None:
    version = run.publish("model", path="s3://bucket/model", type="model")
    assert version.address == "s3://bucket/model"
    with pytest.raises(LineageError, match="no local path"):
        _ = version.path


def test_path_must_be_there_unless_external(run: Run, tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError, match="external=True"):
        _publish(run, tmp_path / "nope")
    assert _publish(run, tmp_path / "nope", external=True).location.external


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("../../x", URIError), ("a//b", URIError), ("model:v7", PublishRefused),
        ("art://model:best", PublishRefused), ("model:latest", PublishRefused),
        ("model#x", PublishRefused), ("", URIError), ("modèle", URIError),
    ],
)  # fmt: skip
def test_name_that_is_more_or_less_than_a_name_is_refused(
    run: Run, out: Path, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        _publish(run, out, name)


@pytest.mark.parametrize("alias", ["latest", "v12", "7", "007", "a b", "", "-x", "a/b", "x" * 129])
def test_alias_that_means_something_else_is_refused(
    store: Lineage, run: Run, out: Path, alias: str
) -> None:
    with pytest.raises(PublishRefused, match="cannot be an alias"):
        _publish(run, out, aliases=[alias])
    _publish(run, out)
    with pytest.raises(PublishRefused, match="cannot be an alias"):
        store.alias("model", alias)


def test_refused_publish_leaves_nothing(store: Lineage, run: Run, out: Path) -> None:
    before = store.journal.head()
    with pytest.raises(MetadataError):
        _publish(run, out, metadata={"x": object()})
    with pytest.raises(PublishRefused):
        run.publish("model", path=out, type="")
    with pytest.raises(PublishRefused):
        _publish(run, out, digest="maybe")
    with pytest.raises(PublishRefused, match="list of references"):
        _publish(run, out, inputs="art://x")
    assert store.journal.head() == before


def test_near_misses_are_named(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out, "sft-model", aliases=["step_100"])
    with pytest.raises(ArtifactNotFoundError, match="did you mean sft-model") as missing:
        store.resolve("sft-modle")
    assert missing.value.near == ("sft-model",)
    with pytest.raises(ArtifactVersionNotFoundError, match="did you mean step_100"):
        store.resolve("sft-model:step_10")
    with pytest.raises(ArtifactVersionNotFoundError, match=r"newest is v1\. Try: lineage log sft"):
        store.resolve("sft-model:v9")
    with pytest.raises(KeyError):
        store.resolve("nothing-like-it")


# -------------------------------------------------------------------- aliases, states


def test_alias_history_is_kept(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out, aliases=["best"])
    (out / "x").touch()
    _publish(run, out)
    store.alias("model:v2", "best")
    store.unalias("model", "best")
    moves = [(m.alias, m.revision, m.was, m.version) for m in store.moves("model")]
    assert moves == [("best", 1, None, 1), ("best", 2, 1, 2), ("best", 3, 2, None)]
    with pytest.raises(ArtifactVersionNotFoundError):
        store.unalias("model", "best")


@pytest.mark.parametrize(
    "expect", [1, "v1", "model:v1", "art://model:v1", VersionId("model", 1).uri]
)
def test_alias_moves_only_when_expected_version_matches(
    store: Lineage, run: Run, out: Path, expect: object
) -> None:
    _publish(run, out, aliases=["prod"])
    (out / "x").touch()
    _publish(run, out)
    for wrong in (None, 2, "v2"):
        with pytest.raises(Conflict, match="points to v1"):
            store.alias("model:v2", "prod", expect=wrong)
    assert store.alias("model:v2", "prod", expect=expect).number == 2  # type: ignore[arg-type]  # all forms
    store.alias("model:v2", "new", expect=None)
    store.alias("model:v2", "prod", expect=ANY)


def test_deleted_version_says_when_by_whom_and_what_is_near(
    store: Lineage, run: Run, out: Path
) -> None:
    _publish(run, out)
    for number in range(2, 5):
        (out / f"{number}").touch()
        _publish(run, out, aliases=["best"] if number == 2 else [])
    later = out.parent / "later"
    later.mkdir()
    _publish(run, later)
    store.retire("model:v4", "disk is full")
    with pytest.raises(ArtifactGone, match=r"disk is full.*nearest live: art://model:v5") as gone:
        store.resolve("model:v4")
    assert gone.value.state == "deleted"
    assert gone.value.nearest == ("art://model:v5",)
    with pytest.raises(ArtifactGone, match="was replaced on"):
        store.resolve("model:best")
    assert store.resolve("model").number == 5


def test_replaced_version_names_its_successor(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out)
    (out / "config.json").write_text("{}")
    _publish(run, out)
    with pytest.raises(ArtifactGone) as gone:
        store.resolve("model:v1")
    assert gone.value.state == "replaced"
    assert gone.value.nearest[0] == "art://model:v2"
    with pytest.raises(FileNotFoundError):
        store.resolve("model:v1")


def test_latest_of_an_artifact_without_live_versions_is_gone(
    store: Lineage, run: Run, out: Path
) -> None:
    _publish(run, out)
    store.retire("model", "bad")
    with pytest.raises(ArtifactGone, match="no version of it is live"):
        store.resolve("model")
    assert store.version("model").state is State.DELETED
    assert [v.number for v in store.log("model")] == [1]


def test_missing_and_found_are_observed(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out)
    out.rename(out.parent / "away")
    assert store.look("model").state is State.MISSING
    assert store.look("model").state is State.MISSING
    (out.parent / "away").rename(out)
    assert store.look("model").state is State.LIVE
    assert [fact.kind for fact in store.facts("model")] == ["published", "missing", "found"]


def test_moved_version_is_found_at_its_new_place(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out)
    away = out.parent / "away"
    out.rename(away)
    assert store.relocate("model", away).path == away.resolve()
    with pytest.raises(PathNotFoundError):
        store.relocate("model", "nope")


def test_description_adds_replaces_and_removes(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out, metadata={"a": 1, "b": 2})
    version = store.describe("model", {"b": 3, "c": {"d": 4}, "a": None})
    assert version.metadata == {"b": 3, "c": {"d": 4}}


def test_held_version_must_be_released_before_it_is_retired(
    store: Lineage, run: Run, out: Path
) -> None:
    _publish(run, out)
    store.hold("model", "release candidate")
    with pytest.raises(PublishRefused, match="release candidate"):
        store.retire("model", "x")
    store.release("model")
    assert store.retire("model", "x").state is State.DELETED


# ------------------------------------------------------------------------------- uses


def test_use_gives_a_pinned_version(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out, aliases=["best"], metadata={"step": 1})
    with store.run("next") as other:
        data = other.use("model:best", role="init")
    assert isinstance(data, Version)
    assert (str(data.uri), data.path, data.metadata) == ("art://model:v1", out, {"step": 1})


@pytest.mark.parametrize(
    ("reference", "uri", "revision"),
    [
        ("hf://org/data@main", "hf://org/data", "main"),
        (SourceURI.parse("s3://b/k?versionId=3"), "s3://b/k", "3"),
        (Source(SourceURI("https://h/x")), "https://h/x", None),
    ],
)
def test_use_of_a_source(
    store: Lineage, run: Run, out: Path, reference: object, uri: str, revision: str | None
) -> None:
    run.use(reference, weight=0.25, split="train", tokens=10, digest="sha256:ab", size=5)  # type: ignore[arg-type]
    _publish(run, out)
    assert store.inputs("model") == [
        Input(target=SourceURI(uri), role="data", revision=revision, weight=0.25, split="train",
              tokens=10, digest="sha256:ab", size=5)
    ]  # fmt: skip


def test_use_of_a_path_is_a_use_of_the_version_there(
    store: Lineage, run: Run, out: Path, tmp_path: Path
) -> None:
    _publish(run, out)
    with store.run("next") as other:
        assert isinstance(other.use(out, role="init"), Version)
        assert isinstance(other.use(f"{out}/", role="init"), Version)
        raw = tmp_path / "raw.txt"
        raw.touch()
        source = other.use(raw)
        assert isinstance(source, Source)
        assert source.path == raw


@pytest.mark.parametrize("reference", ["nope", "art://nope:v1", "ART://x", "https://u:p@h/x"])
def test_use_of_what_is_not_there_is_refused(run: Run, reference: str) -> None:
    with pytest.raises((ArtifactNotFoundError, URIError)):
        run.use(reference)


def test_explicit_inputs_replace_what_the_run_used(store: Lineage, run: Run, out: Path) -> None:
    run.use("hf://org/a")
    _publish(run, out, inputs=["hf://org/b@v1", run.input("hf://org/c", "eval", weight=2.0)])
    found = [(str(i.target), i.role, i.revision, i.weight) for i in store.inputs("model")]
    assert found == [("hf://org/b", "data", "v1", None), ("hf://org/c", "eval", None, 2.0)]


# ------------------------------------------------------------------------------- runs


def test_run_tells_how_it_ended(store: Lineage) -> None:
    with store.run("good", config={"lr": 0.1, "fn": len}):
        pass
    with pytest.raises(ValueError, match="boom"), store.run("bad"):
        raise ValueError("boom with password=hunter2")
    with pytest.raises(KeyboardInterrupt), store.run("stopped"):
        raise KeyboardInterrupt
    with pytest.raises(SystemExit), store.run("left"):
        sys.exit(0)
    with pytest.raises(SystemExit), store.run("gave up"):
        sys.exit(3)
    runs = {run.name: run for run in store.runs()}
    assert {name: run.status for name, run in runs.items()} == {
        "good": "ok", "bad": "failed", "stopped": "aborted", "left": "ok", "gave up": "failed",
    }  # fmt: skip
    assert runs["bad"].error == "ValueError: boom with password=[redacted]"
    assert runs["good"].config == {"fn": "<built-in function len>", "lr": 0.1}
    assert runs["good"].detail["argv"]
    assert runs["good"].ended is not None


def test_running_run_is_lost_when_its_process_is_gone(store: Lineage) -> None:
    from nemotron.lineage.events import RunStarted
    from nemotron.lineage.launch import Process

    here = Process.current()
    store.run("alive")
    process = {"pid": here.pid, "boot": here.boot, "started": "1"}
    store.commit(RunStarted(run="r", name="dead", host=here.host, detail={"process": process}))
    store.commit(RunStarted(run="s", name="far", host="elsewhere", detail={"process": process}))
    assert {run.name: run.status for run in store.runs()} == {
        "alive": RunStatus.RUNNING, "dead": RunStatus.LOST, "far": RunStatus.RUNNING,
    }  # fmt: skip


def test_launcher_ends_the_run_of_a_process_that_is_gone(store: Lineage, run: Run) -> None:
    ended = store.end_run(run.id, RunStatus.ABORTED, error="CANCELLED, with token=hunter2")
    assert (ended.status, ended.error) == ("aborted", "CANCELLED, with token=[redacted]")
    assert store.end_run(f"run:{run.id}", "failed").status == "aborted"
    with store.run("good") as good:
        pass
    assert store.end_run(good.id, "aborted").status == "ok"
    with pytest.raises(PublishRefused, match="ended by others as failed or aborted, not 'ok'"):
        store.end_run(run.id, "ok")
    with pytest.raises(ArtifactNotFoundError, match="no run 'nope'"):
        store.end_run("nope", "failed")


def test_ended_run_does_nothing_more(run: Run, out: Path) -> None:
    run.end()
    run.end()
    for act in (lambda: _publish(run, out), lambda: run.use("hf://a/b")):
        with pytest.raises(PublishRefused, match="has ended"):
            act()


def test_ranks_of_one_launch_share_a_run(tmp_path: Path) -> None:
    environ = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2"}
    for rank in ("0", "1"):
        with (
            lineage.open(tmp_path / "s.db", environ={**environ, "SLURM_PROCID": rank}) as store,
            store.run("train"),
        ):
            pass
    with lineage.open(tmp_path / "s.db") as store:
        (run,) = store.runs()
    assert (run.job, run.detail["launcher"]["SLURM_JOB_ID"]) == ("slurm:7", "7")


def test_run_of_no_name_is_refused(store: Lineage) -> None:
    with pytest.raises(PublishRefused, match="a run has a name"):
        store.run("")


# -------------------------------------------------------------------------- the hooks


def test_recorded_version_is_numbered_when_somebody_reads(
    store: Lineage, run: Run, out: Path
) -> None:
    record = run.record(
        "model", path=out, type="model", metadata={"loss": float("nan")}, aliases=["step_1"]
    )
    assert store.journal.head().number == 1
    version = store.resolve("model:step_1")
    assert version.metadata == {"loss": None}
    assert version.non_finite == ("loss",)
    assert store.facts("model")[0].event == record


def test_hooks_know_paths_only(store: Lineage, run: Run, out: Path) -> None:
    run.record("model", path=out, type="model")
    with store.run("next") as other:
        other.record_use(out, role="resume")
        other.record_described(out, {"val_loss": 1.5})
        later = out.parent / "later"
        later.mkdir()
        other.record("model", path=later, type="model")
        other.record_deleted(out, "keep 1")
    assert [str(i.target) for i in store.inputs("model:v2")] == ["art://model:v1"]
    assert store.version("model:v1").state is State.DELETED
    assert store.version("model:v1").metadata == {"val_loss": 1.5}


def test_intake_beside_the_checkpoints_is_found(store: Lineage, out: Path) -> None:
    with store.run("train", intake=out) as run:
        run.record("model", path=out, type="model")
        assert store.journal.kind == "memory" or list((out / ".lineage").glob("*.jsonl"))
        assert store.resolve("model").number == 1


# ------------------------------------------------------------------------ time travel


def test_as_of_a_commit_and_a_time(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out, aliases=["prod"])
    first = store.journal.head().number
    moment = datetime.now(UTC)
    (out / "x").touch()
    _publish(run, out, aliases=["prod"])
    store.retire("model:v2", "bad")
    for at in (first, moment, moment.isoformat(), str(moment)):
        assert store.resolve("model:prod", at=at).number == 1
        assert store.resolve("model", at=at).number == 1
        assert store.resolve("model:v1", at=at).state is State.LIVE
        assert store.resolve("model:v1", at=at).aliases == ("prod",)
        assert [v.number for v in store.log("model", at=at)] == [1]
    for early in (store.resolve, store.log):
        with pytest.raises(ArtifactNotFoundError, match="did not exist yet at commit 0"):
            early("model", at=moment - timedelta(days=1))  # type: ignore[operator]
    with pytest.raises(ArtifactVersionNotFoundError):
        store.resolve("model:v2", at=first)


def test_the_graph_as_of_a_commit_knows_nothing_of_what_came_later(
    store: Lineage, run: Run, out: Path
) -> None:
    _publish(run, out)
    first = store.journal.head().number
    run.use("hf://org/later")
    (out / "x").touch()
    _publish(run, out)
    assert len(store.lineage("model:v1", at=first)) > 0
    with pytest.raises(ArtifactVersionNotFoundError, match="v2 does not exist; newest is v1"):
        store.lineage("model:v2", at=first)
    with pytest.raises(ArtifactNotFoundError, match="no run of this store used hf://org/later"):
        store.lineage("hf://org/later", at=first)
    with pytest.raises(ArtifactNotFoundError, match="did not exist yet at commit 1"):
        store.lineage("model", at=1)


# ----------------------------------------------------------------------------- finding


def test_the_graph_names_near_misses_and_shows_what_is_gone(store: Lineage, run: Run) -> None:
    run.use("hf://org/raw")
    run.publish("sft-model", path="s3://b/1", type="model", aliases=["prod"])
    run.publish("child", path="s3://b/2", type="model", inputs=["sft-model"])
    with pytest.raises(ArtifactNotFoundError, match=r"no artifact 'sfft-model'.*mean sft-model"):
        store.lineage("sfft-model")
    with pytest.raises(ArtifactVersionNotFoundError, match="did you mean prod"):
        store.lineage("sft-model:prdo")
    store.retire("sft-model", "room")
    graph = store.lineage("sft-model")
    assert "[deleted]" in graph.tree()
    (child,) = graph.descendants()
    assert [str(node) for node in graph.ancestors(child)] == ["hf://org/raw", "art://sft-model:v1"]
    assert child in graph
    assert "no reference at all" not in graph


def test_find_by_type_metadata_name_and_run(store: Lineage, run: Run, tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / f"ckpt{number}"
        path.touch()
        _publish(run, path, f"sft/m{number % 2}", metadata={"step": number, "cfg": {"lr": 0.1}})
    assert [v.number for v in store.find("sft/m0")] == [2, 1]
    assert len(store.find("sft/*")) == 3
    assert [v.metadata["step"] for v in store.find(metadata={"step": 2})] == [2]
    assert len(store.find(metadata={"cfg.lr": 0.1})) == 3
    assert store.find(type="dataset") == []
    assert len(store.find(run=run.id, limit=2)) == 2
    store.retire("sft/m1", "x")
    assert len(store.find()) == 2
    assert len(store.find(state=None)) == 3
    assert [a.name for a in store.artifacts()] == ["sft/m0", "sft/m1"]


_HELD: dict[str, object] = {
    "cfg": {"betas": [0.9, {"nesterov": True}], "größe": "groß"}, "a.b": 3, "text": "1", "n": 1,
    "yes": True, "none": None, "huge": 2**70, "path": "/a/b", "empty": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "is_found"),
    [
        ({"cfg": _HELD["cfg"]}, True),
        ({"cfg.betas": (0.9, {"nesterov": True})}, True),
        ({"cfg.betas": [0.9]}, False),
        ({"cfg.größe": "groß"}, True),
        ({"a.b": 3}, True),
        ({"a.b": None}, False),
        ({"text": "1"}, True),
        ({"text": 1}, False),
        ({"n": np.int64(1), "path": Path("/a/b")}, True),
        ({"n": True}, False),
        ({"yes": np.bool_(True)}, True),  # noqa: FBT003 - numpy's own
        ({"yes": 1}, False),
        ({"none": None, "absent.too": None}, True),
        ({"huge": 2**70}, True),
        ({"empty": {}}, True),
        ({"empty": []}, False),
    ],
)
def test_find_takes_every_value_that_metadata_takes(
    wanted: dict[str, object],
    is_found: bool,  # noqa: FBT001 - a case
) -> None:
    with lineage.open("memory:") as store, store.run("x") as run:
        run.publish("model", path="s3://bucket/1", type="model", metadata=_HELD)
        assert len(store.find(metadata=wanted)) == is_found
        with pytest.raises(MetadataError, match="'n' is a object"):
            store.find(metadata={"n": object()})


def test_numbers_of_a_use_may_come_from_numpy(store: Lineage, run: Run, out: Path) -> None:
    run.use("hf://org/a", weight=np.float32(0.5), tokens=np.int64(7))  # type: ignore[arg-type]
    run.record_use("s3://bucket/b", weight=np.float32(0.25))  # type: ignore[arg-type]
    _publish(run, out)
    facts = {str(each.target): (each.weight, each.tokens) for each in store.inputs("model")}
    assert facts["hf://org/a"] == (0.5, 7)
    assert store.combine() == 0
    for weight in (-1, float("nan"), float("inf"), 2**63, "much", True):
        with pytest.raises(PublishRefused, match="weight of a use is a number from 0 to"):
            run.use("hf://org/a", weight=weight)  # type: ignore[arg-type]
        with pytest.raises(PublishRefused, match="weight of a use is a number from 0 to"):
            run.record("m", path=out, type="model", inputs=[
                Input(target=SourceURI.parse("hf://org/a"), weight=weight)  # type: ignore[arg-type]
            ])  # fmt: skip


@pytest.mark.parametrize("fact", ["split", "revision", "digest"])
def test_facts_of_a_use_that_are_no_text_are_refused(store: Lineage, run: Run, fact: str) -> None:
    facts: Any = {fact: ["train", "validation"]}
    with pytest.raises(PublishRefused, match=f"the {fact} of a use is a text, not"):
        run.use("hf://org/a", **facts)
    with pytest.raises(PublishRefused, match=f"the {fact} of a use is a text, not"):
        run.input("hf://org/a", **facts)
    assert store.inputs(f"run:{run.id}") == []


def test_what_sqlite_cannot_hold_keeps_nobody_from_reading(store: Lineage, run: Run) -> None:
    """The name of a file that is no UTF-8, in the text of an exception; a number too large."""
    unreadable = os.fsdecode(b"/data/caf\xe9")
    source = SourceURI.parse(f"hf://org/{unreadable[-4:]}")
    store.end_run(run.id, "failed", error=f"no such file: {unreadable}")
    store.commit(Used(run=run.id, input=Input(target=source, tokens=2**63)))
    store.commit(Used(run=run.id, input=Input(target=source, split=["a"])))  # type: ignore[arg-type]
    assert store.run_info(run.id).error == "no such file: /data/caf\\udce9"
    assert [used.split for used in store.inputs(f"run:{run.id}")] == [None, '["a"]']


def test_inputs_of_a_record_are_inputs(store: Lineage, run: Run, out: Path) -> None:
    with pytest.raises(PublishRefused, match="an input of a record is an Input, not 'hf://org/a'"):
        run.record("model", path=out, type="model", inputs=["hf://org/a"])  # type: ignore[list-item]
    assert store.pending() == 0


def test_what_decides_is_text_that_can_be_written(store: Lineage, run: Run, out: Path) -> None:
    unreadable = os.fsdecode(b"caf\xe9")
    for odd in ({"type": unreadable}, {"type": "model", "idempotency_key": unreadable}):
        with pytest.raises(PublishRefused, match="is no UTF-8, and no record can hold it"):
            run.publish("model", path=out, **odd)
        run.record("recorded", path=out, **odd)  # nobody can be refused here, or wait for it
    assert _publish(run, out).number == 1
    assert store.pending() == 0


def test_a_text_is_no_list_of_aliases(run: Run, out: Path) -> None:
    for publish in (run.publish, run.record):
        with pytest.raises(PublishRefused, match="aliases is a list of names, not the text 'best'"):
            publish("model", path=out, type="model", aliases="best")


def test_an_alias_is_not_expected_at_a_version_of_another_artifact(
    store: Lineage, run: Run
) -> None:
    for name in ("one", "other"):
        run.publish(name, path=f"s3://bucket/{name}", type="model", aliases=["best"])
    run.publish("one", path="s3://bucket/2", type="model")
    with pytest.raises(PublishRefused, match="names no version of art://one"):
        store.alias("one:v2", "best", expect=store.resolve("other:v1"))
    assert store.resolve("one:best").number == 1


def test_what_is_found_elsewhere_is_live_again(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out)
    moved = out.rename(out.with_name("moved"))
    assert store.look("model").state is State.MISSING
    assert store.relocate("model", moved).state is State.LIVE
    assert len(store.find("model")) == 1
    with pytest.raises(PathNotFoundError, match="nowhere does not exist on this host; check it"):
        store.relocate("model", "nowhere")


def test_a_key_of_a_version_that_is_gone_moves_no_alias_back(store: Lineage, run: Run) -> None:
    def nightly() -> Version:
        return run.publish("model", path="s3://bucket/1", type="model", aliases=["prod"],
                           metadata={"n": 1}, idempotency_key="night-1")  # fmt: skip

    nightly()
    run.publish("model", path="s3://bucket/2", type="model", aliases=["prod"])
    store.retire("model:v1", "room")
    before = store.journal.head()
    with pytest.raises(ArtifactGone, match="nearest live: art://model:v2"):
        nightly()
    assert store.resolve("model:prod").number == 2
    assert store.journal.head() == before


def test_settings_may_be_keyed_by_numbers(store: Lineage) -> None:
    run = store.run("x", config={"rate": {0: 0.1, 100: 0.2}})
    assert store.run_info(run.id).config == {"rate": {"0": 0.1, "100": 0.2}}
    with pytest.raises(MetadataError, match="'config' is a list; give a mapping"):
        store.run("x", config=[1])  # type: ignore[arg-type]


def test_the_reason_of_a_deletion_that_was_seen_holds_no_secret(
    store: Lineage, run: Run, out: Path
) -> None:
    _publish(run, out)
    run.record_deleted(out, "cleaned with hf_abcdefghijklmnopqrstuvwxyz0123")
    assert store.facts("model")[-1].payload["reason"] == "cleaned with [redacted]"


def test_a_blanked_place_is_no_path(store: Lineage, run: Run, out: Path) -> None:
    """An empty path would be the working folder, and one inside it the root's."""
    _publish(run, out)
    audit.redact(store, "model", "erasure request")
    version = store.resolve("model")
    for path in (lambda: version.path, lambda: store.resolve("model#config.json")):
        with pytest.raises(PayloadRedacted, match="lineage relocate art://model:v1 PATH"):
            path()
    assert "was blanked" in store.verify("model").sentence
    assert store.relocate("model", out).path == out.resolve()


def test_pins_are_resolved_once_for_a_job(store: Lineage, run: Run, out: Path) -> None:
    _publish(run, out)
    first = store.pin(["model"], job="slurm:7")
    (out / "x").touch()
    _publish(run, out)
    assert store.pin(["model"], job="slurm:7") == first == {"model": "art://model:v1"}
    assert store.pin(["model"], job="slurm:8") == {"model": "art://model:v2"}


def test_closed_store_says_so(store: Lineage) -> None:
    store.close()
    store.close()
    for act in (lambda: store.resolve("x"), lambda: store.run("x"), store.combine, store.pending):
        with pytest.raises(StoreClosed, match="was closed; open it again"):
            act()


def test_secrets_do_not_get_into_the_journal(tmp_path: Path, out: Path) -> None:
    secret = "0123456789abcdef0123456789abcdef01234567"
    environ = {"WANDB_API_KEY": secret}
    with (
        lineage.open(tmp_path / "lineage", environ=environ) as store,
        store.run("x", config={"wandb": {"api_key": "planted1"}, "note": f"key {secret}"}) as run,
    ):
        run.use(f"https://host/x?token=planted2&part={secret}")
        version = _publish(run, out, metadata={"password": "planted3", "tokenizer": "gpt2"})
        run.record("hook", path=out, type="model", metadata={"hf_token": "planted4"})
        store.describe(version, {"note": "see https://me:planted5@host/"})
        store.retire(version, "leaked: password=planted6")
        store.combine()
        assert store.version("model").metadata["tokenizer"] == "gpt2"
    files = [path for path in (tmp_path / "lineage").rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        data = path.read_bytes()
        assert b"planted" not in data, path
        assert secret.encode() not in data, path


# ----------------------------------------------------------------------- one file, many names


def test_a_link_to_a_store_shares_its_gate_and_its_intake(tmp_path: Path) -> None:
    real, link = tmp_path / "disk" / "lineage.db", tmp_path / "link.db"
    real.parent.mkdir()
    link.symlink_to(real)
    with lineage.open(link) as store, store.run("one") as run:  # it makes what the link names
        run.publish("model", path="s3://bucket/1", type="model")
    recorder = lineage.Recorder("two", run="two", store=link)
    recorder.record("model", path="s3://bucket/2", type="model")
    with lineage.open(real) as store:
        assert [version.number for version in store.log("model")] == [2, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "home", "link.db"]
    assert fast_resolve(["model", "--store", str(link)]) == "s3://bucket/2"


def test_a_store_whose_file_alone_was_copied_is_written_to(tmp_path: Path) -> None:
    with lineage.open("lineage.db") as store, store.run("one") as run:
        run.publish("model", path="s3://bucket/1", type="model")
    there = tmp_path / "there"
    there.mkdir()
    shutil.copy("lineage.db", there)
    with lineage.open(there / "lineage.db") as store, store.run("two") as run:
        assert run.publish("model", path="s3://bucket/2", type="model").number == 2
