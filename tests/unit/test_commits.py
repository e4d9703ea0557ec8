"""Events, their JSON form, and the chain of commits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron.lineage import Input, Location, SourceURI, StoreDamaged, StoreTooNew, VersionId
from nemotron.lineage import events as ev
from nemotron.lineage.commits import GENESIS, Commit, Entry, Front, Mark
from nemotron.lineage.metadata import canonical_json

PLACE = Location("/out/1", "host")
VERSION = VersionId("model?sample=100", 3)
DATA = Input(target=VERSION, role="data", weight=0.5, split="train", tokens=10, digest="blake3:ab")
RAW = Input(target=SourceURI("hf://org/x"), role="data", revision="main", size=7)
SAMPLES: list[ev.Event] = [
    ev.JobPinned(job="slurm:1", pins={"a": "art://a:v1"}, run="r"),
    ev.RunStarted(run="r", name="sft", job="j", job_type="t", parent="p", config={"lr": 0.1},
                  host="h", user="u", argv=("a", "b"), detail={"git": {}}, intake="/x"),
    ev.RunEnded(run="r", status="failed", error="ValueError: no"),
    ev.Used(run="r", input=DATA, asked="model:best"),
    ev.Used(run="r", input=RAW),
    ev.Used(run="r", input=Input(target=PLACE, role="init")),
    ev.Published(name="m", type="model", number=4, run="r", location=PLACE, fingerprint="fp1:x",
                 digest="blake3:ab", metadata={"loss": None}, non_finite=("loss",),
                 inputs=(DATA, RAW), aliases=("best",), key="k", late=True, origin={"a": 1}),
    ev.Published(name="m", type="model", location=PLACE),
    ev.Described(version=VERSION, metadata={"a": 1}, run="r"),
    ev.Sealed(version=VERSION, digest="blake3:ab", size=1, files=2),
    ev.Replaced(version=VERSION, by=VersionId("m", 5)),
    ev.Missing(version=VERSION, host="h"),
    ev.Found(version=VERSION),
    ev.Deleted(version=PLACE, reason="keep 2", by="me", seen=True),
    ev.AliasMoved(name="m", alias="best", to=None, was=2, revision=3, run="r", by="me"),
    ev.Relocated(version=VERSION, location=PLACE),
    ev.Held(version=VERSION, held=False, reason="audit", by="me"),
    ev.Redacted(event="w-1", kept={"a": 1}, reason="secret", by="me"),
    ev.Receipt(mirror="wandb", delivered={"id": "x"}, head="h"),
    ev.Imported(name="m", number=7, type="model", origin={"system": "wandb"}, location=PLACE,
                inputs=(RAW,), aliases=("best",), created="2026"),
    ev.ForkedFrom(journal="j", commit=3, hash="h"),
    ev.SucceededBy(journal="j", store="/x"),
]  # fmt: skip


def _commit(*events: ev.Event, head: Any = GENESIS) -> Commit:
    entries = [Entry(f"w-{at}", "2026-01-01T00:00:00.000000Z", e) for at, e in enumerate(events, 1)]
    return Commit.make(
        "journal", head, entries, writers={"w": Mark(len(entries), 99)}, recorded="2026-02-01"
    )


def test_samples_hold_every_kind() -> None:
    assert {event.kind for event in SAMPLES} == set(ev.KINDS)


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.kind)
def test_event_is_read_back_from_json(event: ev.Event) -> None:
    text = canonical_json(event.payload())
    assert ev.from_payload(event.kind, json.loads(text)) == event


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.kind)
def test_skeleton_is_an_event_without_free_text(event: ev.Event) -> None:
    kept = ev.from_payload(event.kind, json.loads(canonical_json(event.skeleton())))
    if isinstance(event, ev.Published):
        assert isinstance(kept, ev.Published)
        assert (kept.name, kept.number, kept.run) == (event.name, event.number, event.run)
        assert (kept.metadata, kept.location.path) == ({}, "")
        assert kept.inputs is None or [i.target for i in kept.inputs] == [VERSION, RAW.target]
    assert "ValueError" not in canonical_json(event.skeleton())


def test_event_of_a_later_release_is_kept_and_known_as_vital() -> None:
    event = ev.from_payload("teleported", {"a": 1}, critical=True)
    assert event == ev.Unknown(name="teleported", vital=True, content={"a": 1})
    assert isinstance(ev.from_payload("used", {}, form=2), ev.Unknown)


def test_field_of_a_later_release_is_passed_over() -> None:
    payload = {**SAMPLES[2].payload(), "mood": "good"}
    assert ev.from_payload("run-ended", payload) == SAMPLES[2]


def test_old_form_is_upcast_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ev.RunEnded, "form", 3)
    upcasters = {
        ("run-ended", 1): lambda old: {**old, "state": old["code"] == 0},
        ("run-ended", 2): lambda old: {"run": old["run"], "status": "ok" if old["state"] else "x"},
    }
    event = ev.from_payload("run-ended", {"run": "r", "code": 0}, form=1, upcasters=upcasters)
    assert event == ev.RunEnded(run="r", status="ok")


# ------------------------------------------------------------------------ commits


def test_commit_is_read_back() -> None:
    commit = _commit(*SAMPLES)
    assert Commit.read(commit.text, number=1) == commit


def test_chain_links_by_hash() -> None:
    first = _commit(SAMPLES[0])
    second = _commit(SAMPLES[1], head=first.head)
    assert (second.number, second.previous) == (2, first.hash)


def test_time_never_runs_backwards() -> None:
    first = _commit(SAMPLES[0])
    second = Commit.make("journal", first.head, [], writers={}, recorded="1999")
    assert second.recorded == first.recorded


def test_same_payload_twice_has_two_digests() -> None:
    commit = _commit(SAMPLES[2], SAMPLES[2])
    assert commit.sealings[0].digest != commit.sealings[1].digest


@given(st.data())
def test_any_flipped_byte_is_found(data: st.DataObject) -> None:
    commit = _commit(SAMPLES[6], SAMPLES[2])
    at = data.draw(st.integers(min_value=0, max_value=len(commit.text) - 1))
    bit = data.draw(st.integers(min_value=0, max_value=6))
    flipped = chr(ord(commit.text[at]) ^ (1 << bit))
    text = commit.text[:at] + flipped + commit.text[at + 1 :]
    with pytest.raises((StoreDamaged, StoreTooNew)) as caught:
        Commit.read(text, number=1)
    assert "commit 1" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format":1}', '{"format":1,"hash":3}'])
def test_text_that_is_no_commit_is_named(text: str) -> None:
    with pytest.raises(StoreDamaged, match="commit 7 is damaged") as caught:
        Commit.read(text, number=7)
    assert caught.value.commit == 7


def test_commit_under_another_number_is_found() -> None:
    with pytest.raises(StoreDamaged, match="says number 1"):
        Commit.read(_commit(SAMPLES[0]).text, number=2)


def test_commit_of_a_newer_format_says_so() -> None:
    text = _commit(SAMPLES[0]).text.replace('"format":1', '"format":2')
    with pytest.raises(StoreTooNew, match="format 2, newer than this release"):
        Commit.read(text, number=1)


def test_blank_payload_keeps_the_hash_and_hides_text_and_salt() -> None:
    commit = _commit(SAMPLES[6], SAMPLES[2])
    blanked = commit.blank("w-1", SAMPLES[6].skeleton())
    assert blanked.hash == commit.hash
    assert (blanked.is_blank(0), blanked.is_blank(1)) == (True, False)
    assert commit.sealings[0].salt is not None
    assert commit.sealings[0].salt not in blanked.text
    assert "fp1:x" not in blanked.text
    assert Commit.read(blanked.text, number=1) == blanked
    assert blanked.entries[1] == commit.entries[1]


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.kind)
def test_front_tells_of_a_commit_without_its_payloads(event: ev.Event) -> None:
    commit = _commit(event, head=_commit(event).head)
    front = Front.read(commit.text, number=2)
    assert (front.previous, front.hash) == (commit.previous, commit.hash)
    assert (front.writers, front.kinds) == (commit.writers, ((event.kind, event.form),))
    blanked = commit.blank("w-1", event.skeleton())
    assert Front.read(blanked.text, number=2) == front


@pytest.mark.parametrize(
    ("old", "new"), [('"number":1', '"number":2'), ("w-1", "x-1"), ('"hash":"', '"hash":"0')]
)
def test_front_that_was_changed_is_damage(old: str, new: str) -> None:
    text = _commit(SAMPLES[0]).text
    with pytest.raises(StoreDamaged):
        Front.read(text.replace(old, new), number=1)
    with pytest.raises(StoreDamaged):
        Front.read(text, number=3)
