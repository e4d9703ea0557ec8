"""How a record is closed: numbers, replacement, lateness, repeats, places."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from nemotron.lineage import (
    ArtifactVersionNotFoundError,
    Conflict,
    Input,
    Lineage,
    Location,
    PublishRefused,
    SourceURI,
    State,
    VersionId,
)
from nemotron.lineage import events as ev
from nemotron.lineage.intake import Writer
from nemotron.lineage.journal.memory import MemoryJournal
from nemotron.lineage.testing import SetClock
from nemotron.lineage.testing import publish as publish_any

publish = partial(publish_any, content="a")  # what lies there is known
V1, V2 = VersionId("model", 1), VersionId("model", 2)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def store(clock: SetClock) -> Iterator[Lineage]:
    with Lineage(MemoryJournal(clock=clock), clock=clock) as store:
        yield store


@pytest.fixture
def hook(store: Lineage) -> Writer:
    return store.journal.intakes.writer({})


def _states(store: Lineage) -> dict[str, State]:
    return {str(version.uri): version.state for version in store.log("model")}


# -------------------------------------------------------------------- the same again


def test_same_content_by_the_same_run_is_the_same_version(store: Lineage) -> None:
    assert store.commit(publish()).version == V1
    assert store.commit(publish()).version == V1
    assert store.journal.head().number == 1


def test_repeat_adds_metadata_aliases_and_digest(store: Lineage) -> None:
    store.commit(publish(metadata={"a": 1}))
    digest = "blake3:" + "a" * 64
    store.commit(publish(metadata={"b": 2}, aliases=("best",), digest=digest))
    version = store.resolve("model:best")
    assert (dict(version.metadata), version.digest) == ({"a": 1, "b": 2}, digest)


def test_same_content_by_another_run_is_a_new_version_beside_the_old(store: Lineage) -> None:
    store.commit(publish())
    assert store.commit(publish(run="other")).version == V2
    assert set(_states(store).values()) == {State.LIVE}


def test_other_content_at_the_place_replaces_what_was_there(store: Lineage) -> None:
    store.commit(publish())
    assert store.commit(publish(content="b")).version == V2
    assert _states(store) == {str(V1): "replaced", str(V2): "live"}


def _sealed(version: VersionId, letter: str) -> ev.Sealed:
    return ev.Sealed(version=version, digest="blake3:" + letter * 64)


def test_version_is_sealed_once(store: Lineage) -> None:
    store.commit(publish())
    store.commit(_sealed(V1, "a"))
    assert store.commit(_sealed(V1, "a")).entries == ()
    with pytest.raises(Conflict, match=r"was sealed with blake3:a+ before, not with blake3:b+"):
        store.commit(_sealed(V1, "b"))
    assert store.version("model:v1").digest == "blake3:" + "a" * 64


def test_seal_that_waited_in_an_intake_does_not_change_a_digest(
    store: Lineage, hook: Writer
) -> None:
    store.commit(publish())
    store.commit(_sealed(V1, "a"))
    hook.append(_sealed(V1, "b"))
    assert store.version("model:v1").digest == "blake3:" + "a" * 64


def test_digest_tells_what_equal_fingerprints_hid(store: Lineage) -> None:
    store.commit(publish())
    store.commit(_sealed(V1, "a"))
    store.commit(publish(run="other"))
    store.commit(publish(name="third", run="third"))
    assert set(_states(store).values()) == {State.LIVE}
    store.commit(_sealed(V2, "b"))
    assert _states(store) == {str(V1): "replaced", str(V2): "live"}
    (fact,) = [fact for fact in store.facts("model:v1") if fact.kind == "replaced"]
    assert fact.payload["by"] == str(V2)
    assert store.version("third").state is State.LIVE, "nobody knows its bytes"


def test_digests_of_two_kinds_tell_nothing_about_each_other(store: Lineage) -> None:
    store.commit(publish(digest="sha256:" + "a" * 64))
    store.commit(publish(run="other"))
    store.commit(_sealed(V2, "b"))
    assert set(_states(store).values()) == {State.LIVE}


def test_seal_of_what_is_gone_replaces_nothing(store: Lineage) -> None:
    store.commit(publish())
    store.commit(publish(run="other", content="b"))
    store.commit(_sealed(V2, "b"))
    store.commit(_sealed(V1, "a"))
    assert _states(store) == {str(V1): "replaced", str(V2): "live"}


def test_replacement_reaches_versions_of_other_artifacts(store: Lineage) -> None:
    store.commit(publish())
    store.commit(publish(name="copy"))
    store.commit(publish(name="third", content="b"))
    assert store.version("model").state == store.version("copy").state == State.REPLACED


def test_digests_decide_when_both_are_sealed(store: Lineage) -> None:
    same, other = "blake3:" + "a" * 64, "blake3:" + "b" * 64
    store.commit(publish(digest=same))
    assert store.commit(publish(content="other fingerprint", digest=same)).version == V1
    assert store.commit(publish(digest=other)).version == V2


def test_external_content_is_never_taken_for_the_same(store: Lineage) -> None:
    store.commit(publish(content=None))
    assert store.commit(publish(content=None)).version == V2
    assert set(_states(store).values()) == {State.LIVE}


def test_idempotency_key_gives_the_version_again(store: Lineage) -> None:
    store.commit(publish(key="k"))
    store.commit(publish(path="/out/2"))
    assert store.commit(publish(path="/out/3", content="z", key="k")).version == V1


def test_paths_of_two_hosts_are_two_places(store: Lineage) -> None:
    one = ev.Published(name="m", type="t", location=Location("/tmp/x", "a"), fingerprint="1")
    two = ev.Published(name="m", type="t", location=Location("/tmp/x", "b"), fingerprint="2")
    store.commit(one)
    store.commit(two)
    assert {version.state for version in store.log("m")} == {State.LIVE}


# ------------------------------------------------------------------------ refusals


def test_type_is_fixed_by_the_first_version(store: Lineage) -> None:
    store.commit(publish())
    with pytest.raises(PublishRefused, match="is of type 'model', not 'dataset'"):
        store.commit(publish(type="dataset", path="/2"))


def test_hook_with_another_type_is_recorded_under_a_name_that_says_so(
    store: Lineage, hook: Writer
) -> None:
    store.commit(publish())
    hook.append(publish(type="data set", path="/2"))
    hook.append(publish(type="data set", path="/3"))
    assert [version.type for version in store.log("model")] == ["model"]
    assert [version.address for version in store.log("model?type=data-set")] == ["/3", "/2"]


def test_name_of_imported_versions_refuses_local_publishing(store: Lineage, hook: Writer) -> None:
    origin = {"system": "wandb", "id": "x"}
    store.commit(
        ev.Imported(name="model", number=7, type="model", origin=origin, location=Location("/w"))
    )
    with pytest.raises(PublishRefused, match="imported from wandb"):
        store.commit(publish())
    hook.append(publish(path="/hook"))
    assert [str(version.uri) for version in store.log("model")] == ["art://model:v7"]
    assert store.resolve("model?origin=local").address == "/hook"


def test_import_is_idempotent_and_contradiction_is_refused(store: Lineage) -> None:
    imported = ev.Imported(
        name="m", number=0, type="t", origin={"system": "s", "id": 1}, location=Location("/w")
    )
    store.commit(imported)
    store.commit(imported)
    assert store.journal.head().number == 1
    assert store.resolve("m:v0").address == "/w"
    other = ev.Imported(
        name="m", number=0, type="t", origin={"system": "s", "id": 2}, location=Location("/w")
    )
    with pytest.raises(Conflict, match="was imported before"):
        store.commit(other)
    store.commit(publish())
    with pytest.raises(PublishRefused, match="published here"):
        store.commit(
            ev.Imported(name="model", number=9, type="t", origin={}, location=Location("/w"))
        )


def test_alias_needs_a_version_that_lives(store: Lineage) -> None:
    store.commit(publish())
    with pytest.raises(ArtifactVersionNotFoundError):
        store.commit(ev.AliasMoved(name="model", alias="best", to=2))
    store.commit(ev.Deleted(version=V1))
    with pytest.raises(PublishRefused, match="is deleted; point the alias to a live version"):
        store.commit(ev.AliasMoved(name="model", alias="best", to=1))


def test_held_version_cannot_be_retired_but_seen_deletion_is_a_fact(
    store: Lineage, hook: Writer
) -> None:
    store.commit(publish())
    store.commit(ev.Held(version=V1, reason="audit"))
    with pytest.raises(PublishRefused, match=r"is held \(audit\)"):
        store.commit(ev.Deleted(version=V1))
    hook.append(ev.Deleted(version=V1, seen=True))
    assert _states(store) == {str(V1): "deleted"}


def test_record_about_a_version_that_never_was_is_dropped_with_a_word(
    store: Lineage, hook: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    hook.append(ev.Sealed(version=V1, digest="blake3:" + "0" * 64))
    hook.append(publish())
    assert store.resolve("model").digest is None
    assert "never was: dropped" in caplog.text


# ------------------------------------------------------------- lateness and places


def test_late_record_keeps_its_number_but_is_not_latest(
    store: Lineage, hook: Writer, clock: SetClock
) -> None:
    hook.append(publish(path="/old"))
    pending, store.journal.intakes._entries[:] = list(store.journal.intakes._entries), []  # type: ignore[attr-defined]  # unseen so far
    store.commit(publish(path="/new"))
    store.journal.intakes._entries += pending  # type: ignore[attr-defined]
    assert [(v.number, v.late) for v in store.log("model")] == [(2, True), (1, False)]
    assert store.resolve("model").number == 1


def test_record_of_one_writer_is_never_late_to_itself(
    store: Lineage, hook: Writer, clock: SetClock
) -> None:
    hook.append(publish(path="/1"))
    store.combine()
    clock.move(hours=-2)
    hook.append(publish(path="/2"))
    assert store.resolve("model").address == "/2"


def test_clock_going_backwards_does_not_make_a_direct_publish_late(
    store: Lineage, clock: SetClock
) -> None:
    store.commit(publish(path="/1"))
    clock.move(days=-1)
    store.commit(publish(path="/2"))
    assert store.resolve("model").address == "/2"
    first, second = store.journal.read()
    assert first.recorded <= second.recorded


def test_late_record_of_a_place_with_newer_content_is_replaced(
    store: Lineage, hook: Writer
) -> None:
    hook.append(publish(content="old"))
    pending, store.journal.intakes._entries[:] = list(store.journal.intakes._entries), []  # type: ignore[attr-defined]
    store.commit(publish(content="new"))
    store.journal.intakes._entries += pending  # type: ignore[attr-defined]
    assert _states(store) == {str(V1): "live", str(V2): "replaced"}


def test_use_of_a_place_is_a_use_of_the_version_there(store: Lineage, hook: Writer) -> None:
    store.commit(publish(path="/ckpt/1"))
    hook.append(ev.Used(run="two", input=Input(target=Location("/ckpt/1"), role="init")))
    hook.append(ev.Used(run="two", input=Input(target=Location("/raw"))))
    store.commit(publish(name="next", path="/ckpt/2", run="two"))
    inputs = {used.role: used.target for used in store.inputs("next")}
    assert inputs == {"init": V1, "data": SourceURI("file:///raw")}


def test_deletion_seen_before_the_save_is_known_reaches_it_later(
    store: Lineage, hook: Writer, clock: SetClock
) -> None:
    hook.append(publish(path="/ckpt/1"))
    pending, store.journal.intakes._entries[:] = list(store.journal.intakes._entries), []  # type: ignore[attr-defined]
    rank0 = store.journal.intakes.writer({})
    rank0.append(ev.Deleted(version=Location("/ckpt/1"), seen=True, reason="most_recent_k"))
    assert store.combine() == 1
    store.journal.intakes._entries += pending  # type: ignore[attr-defined]
    assert _states(store) == {str(V1): "deleted"}
    clock.move(minutes=1)
    store.commit(publish(path="/ckpt/1", content="saved again"))
    assert _states(store)[str(V2)] == "live"


def test_deletion_of_a_place_reaches_all_that_lies_there(store: Lineage, hook: Writer) -> None:
    store.commit(publish())
    store.commit(publish(name="copy"))
    hook.append(ev.Deleted(version=Location("/out/1"), seen=True))
    assert store.version("model").state == store.version("copy").state == State.DELETED


# -------------------------------------------------------------------------- the rest


def test_missing_is_withdrawn_by_found_and_deletion_is_final(store: Lineage) -> None:
    store.commit(publish())
    for event, state in (
        (ev.Found(version=V1), State.LIVE),
        (ev.Missing(version=V1), State.MISSING),
        (ev.Found(version=V1), State.LIVE),
        (ev.Deleted(version=V1), State.DELETED),
        (ev.Found(version=V1), State.DELETED),
        (ev.Missing(version=V1), State.DELETED),
    ):
        store.commit(event)
        assert store.version("model:v1").state == state


def test_worst_end_of_a_run_counts(store: Lineage) -> None:
    store.commit(ev.RunStarted(run="r", name="train"))
    for status, shown in (
        ("ok", "ok"), ("failed", "failed"), ("ok", "failed"), ("aborted", "failed"),
    ):  # fmt: skip
        store.commit(ev.RunEnded(run="r", status=status))
        assert store.run_info("r").status == shown


def test_second_rank_joins_the_run(store: Lineage) -> None:
    store.commit(ev.RunStarted(run="r", name="train", host="one"))
    store.commit(ev.RunStarted(run="r", name="train", host="two"))
    assert store.run_info("r").host == "one"
    assert store.journal.head().number == 1


def test_first_pins_of_a_job_count(store: Lineage) -> None:
    store.commit(ev.JobPinned(job="j", pins={"a": "art://a:v1"}))
    store.commit(ev.JobPinned(job="j", pins={"a": "art://a:v2"}))
    assert store.pins("j") == {"a": "art://a:v1"}
    assert store.pins("k") is None
