"""Versions are sealed as what they are, or not at all; and what changed is found."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nemotron.lineage import (
    ArtifactGone,
    ContentChanged,
    Lineage,
    PathNotFoundError,
    Run,
    State,
    StoreReadOnly,
    Verdict,
    Version,
    digest,
)
from nemotron.lineage import events as ev
from nemotron.lineage.seals import seal_all


@pytest.fixture
def run(store: Lineage) -> Run:
    return store.run("train")


@pytest.fixture
def version(run: Run, out: Path) -> Version:
    return run.publish("model", path=out, type="model")


def _sealed(store: Lineage, name: str = "model") -> list[str]:
    return [fact.kind for fact in store.facts(name) if fact.kind == "sealed"]


# ------------------------------------------------------------------------- sealing


def test_sealed_version_has_the_digest_of_all_bytes(
    store: Lineage, version: Version, out: Path
) -> None:
    sealed = store.seal("model")
    assert sealed.uri == version.uri
    assert sealed.digest == digest(out).text
    (fact,) = [fact for fact in store.facts("model") if fact.kind == "sealed"]
    assert (fact.payload["size"], fact.payload["files"]) == (1012 + 1, 2)
    assert store.resolve(f"model@{sealed.digest}").uri == version.uri


def test_sealed_version_is_left_as_it_is(store: Lineage, version: Version) -> None:
    first = store.seal(version)
    assert store.seal("model#config.json") == first
    assert len(_sealed(store)) == 1


def test_sealing_tells_its_progress(store: Lineage, version: Version) -> None:
    seen: list[tuple[int, int]] = []
    store.seal(version, progress=lambda *at: seen.append(at))
    assert seen[-1] == (1013, 1013)


def test_file_is_sealed_too(store: Lineage, run: Run, out: Path) -> None:
    run.publish("config", path=out / "config.json", type="config")
    assert store.seal("config").digest == digest(out / "config.json").text


@pytest.mark.parametrize("name", ["config.json", "more"])
def test_other_content_is_not_sealed_as_what_was_published(
    store: Lineage, version: Version, out: Path, name: str
) -> None:
    (out / name).write_text("other")
    with pytest.raises(ContentChanged, match=r"art://model:v1 changed: what lies at .*/out is not"):
        store.seal("model")
    assert _sealed(store) == []


@pytest.mark.parametrize(
    "act",
    [
        lambda out: (out / "weights.bin").write_bytes(b"\x01" * 1000),
        lambda out: (out / "more").touch(),
        lambda out: (out / "config.json").unlink(missing_ok=True),
        lambda out: shutil.rmtree(out, ignore_errors=True),
        lambda out: os.replace(shutil.copy(out / "weights.bin", out.parent), out / "weights.bin"),
    ],
    ids=["written", "added", "removed", "deleted", "put back"],
)
def test_what_changes_while_it_is_read_is_not_sealed(
    store: Lineage, version: Version, out: Path, act: Callable[[Path], object]
) -> None:
    done = False

    def meddle(*_: int) -> None:
        nonlocal done
        if not done:
            done = True
            act(out)

    with pytest.raises(ContentChanged, match="while it was read"):
        store.seal("model", progress=meddle)
    assert _sealed(store) == []


def test_missing_version_is_not_sealed(store: Lineage, version: Version, out: Path) -> None:
    shutil.rmtree(out)
    with pytest.raises(PathNotFoundError, match=r"not at .* any more. Try: lineage verify") as info:
        store.seal("model")
    assert info.value.path == str(out)
    assert store.version("model").state is State.LIVE, "sealing records nothing but seals"


def test_gone_version_is_not_sealed(store: Lineage, version: Version) -> None:
    store.retire("model", "no longer needed")
    with pytest.raises(ArtifactGone):
        store.seal("model:v1")


@pytest.mark.parametrize(
    ("path", "external", "says"),
    [("s3://bucket/x", False, "cannot be read as files"), ("/x", True, "published as external")],
)
def test_what_this_host_cannot_know_is_not_sealed(
    store: Lineage, run: Run, path: str, *, external: bool, says: str
) -> None:
    run.publish("far", path=path, type="model", external=external)
    with pytest.raises(PathNotFoundError, match=says):
        store.seal("far")
    assert store.verify("far").verdict is Verdict.UNSEEN
    assert store.verify("far").version.state is State.LIVE


def test_version_of_another_host_is_named_with_it(store: Lineage, version: Version) -> None:
    place = replace(version.location, host="node7")
    store.commit(ev.Relocated(version=version.id, location=place))
    with pytest.raises(PathNotFoundError, match="lies on host node7"):
        store.seal("model")
    assert "lies on host node7" in store.verify("model").sentence
    assert list(seal_all(store)) == []


def test_read_only_store_is_told_before_anything_is_read(
    store: Lineage, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.journal, "read_only", True)
    with pytest.raises(StoreReadOnly, match="ask its owner to seal it"):
        store.seal("model", progress=lambda *_: pytest.fail("it was read"))


def test_relocated_version_is_sealed_where_it_lies(
    store: Lineage, version: Version, out: Path, tmp_path: Path
) -> None:
    shutil.move(out, tmp_path / "moved")
    store.relocate("model", tmp_path / "moved")
    assert store.seal("model").digest == digest(tmp_path / "moved").text


def test_the_gate_is_open_while_bytes_are_read(store: Lineage, version: Version, run: Run) -> None:
    store.seal("model", progress=lambda *_: run.use("hf://org/data"))
    assert len(_sealed(store)) == 1


# ------------------------------------------------------- another save at the same place


def _save_again(out: Path) -> None:
    """Save other weights with equal small files, as another data order would."""
    time.sleep(0.02)  # a tick of the files' clock
    (out / "weights.bin").write_bytes(b"\x01" * 1000)


@pytest.fixture
def big(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights count as too big for a fingerprint."""
    monkeypatch.setattr("nemotron.lineage.digests.SIDECAR", 500)


@pytest.mark.usefixtures("big")
def test_seal_shows_that_an_equal_fingerprint_hid_another_save(
    store: Lineage, version: Version, out: Path
) -> None:
    first = store.seal("model")
    _save_again(out)
    store.run("again").publish("model", path=out, type="model")
    assert store.version("model:v1").state is State.LIVE
    assert store.seal("model").digest != first.digest
    assert store.version("model:v1").state is State.REPLACED


@pytest.mark.usefixtures("big")
def test_older_version_is_not_sealed_with_the_bytes_of_a_younger_one(
    store: Lineage, version: Version, out: Path
) -> None:
    _save_again(out)
    store.run("again").publish("other", path=out, type="model")
    for _ in range(2):
        with pytest.raises(ContentChanged, match=r"cannot be told from art://other:v1.*seal that"):
            store.seal("model")
        store.seal("other")
    assert store.version("model").digest is None


def test_one_folder_under_two_names_is_sealed_under_both(
    store: Lineage, version: Version, run: Run, out: Path
) -> None:
    run.publish("other", path=out, type="model")
    store.run("again").publish("model", path=out, type="model")
    found = {str(v.uri): v.digest for v, error in seal_all(store) if error is None}
    assert found == dict.fromkeys(
        ("art://model:v1", "art://other:v1", "art://model:v2"), digest(out).text
    )


# ------------------------------------------------------------------------- all of them


def test_all_are_sealed_the_newest_first(store: Lineage, run: Run, tmp_path: Path) -> None:
    for at in range(4):
        (tmp_path / str(at)).mkdir()
        (tmp_path / str(at) / "x").write_text(str(at))
        run.publish("data", path=tmp_path / str(at), type="dataset")
    run.publish("far", path="s3://bucket/x", type="model")
    (tmp_path / "1" / "x").write_text("other")
    shutil.rmtree(tmp_path / "2")
    results = [(v.number, type(error)) for v, error in seal_all(store)]
    assert results == [
        (4, type(None)),
        (3, PathNotFoundError),
        (2, ContentChanged),
        (1, type(None)),
    ]
    assert [v.number for v, error in seal_all(store) if error is None] == []


def test_what_comes_in_meanwhile_is_sealed_next(store: Lineage, run: Run, tmp_path: Path) -> None:
    for name in ("a", "b", "new"):
        (tmp_path / name).mkdir()
    run.publish("a", path=tmp_path / "a", type="dataset")
    run.publish("b", path=tmp_path / "b", type="dataset")
    order = []
    for version, _ in seal_all(store):
        order.append(version.name)
        if version.name == "b":
            run.record("new", path=tmp_path / "new", type="dataset")
    assert order == ["b", "new", "a"]


# ------------------------------------------------------------------------- verifying


def test_every_byte_is_compared_with_the_seal(store: Lineage, version: Version, out: Path) -> None:
    sealed = store.seal("model")
    found = store.verify("model")
    assert (found.verdict, found.is_unchanged) == (Verdict.UNCHANGED, True)
    assert found.expected == found.found == sealed.digest
    assert "1013 bytes in 2 files" in found.sentence


@pytest.mark.usefixtures("big")
def test_one_tampered_byte_is_found_however_well_it_is_hidden(
    store: Lineage, version: Version, out: Path
) -> None:
    sealed = store.seal("model")
    path = out / "weights.bin"
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(700)
        file.write(b"\x01")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = store.verify("model")
    assert found.verdict is Verdict.CHANGED
    assert (found.expected, found.found) == (sealed.digest, digest(out).text)
    assert not found.is_unchanged
    assert store.version("model").digest == sealed.digest


def test_unsealed_version_has_unverified_bytes(store: Lineage, version: Version, out: Path) -> None:
    found = store.verify("model")
    assert found.verdict is Verdict.UNVERIFIED
    assert "unverified bytes" in found.sentence
    assert "its fingerprint alone" in found.sentence
    assert found.expected == found.found == version.fingerprint
    (out / "config.json").write_text("other")
    assert store.verify("model").verdict is Verdict.CHANGED


def test_missing_version_is_recorded_until_it_is_found_again(
    store: Lineage, version: Version, out: Path, tmp_path: Path
) -> None:
    store.seal("model")
    shutil.move(out, tmp_path / "away")
    found = store.verify("model")
    assert found.verdict is Verdict.MISSING
    assert found.version.state is State.MISSING
    assert "lineage relocate art://model:v1 PATH" in found.sentence
    shutil.move(tmp_path / "away", out)
    found = store.verify("model")
    assert (found.verdict, found.version.state) == (Verdict.UNCHANGED, State.LIVE)


def test_read_only_store_is_verified_without_a_record(
    store: Lineage, version: Version, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(out)
    monkeypatch.setattr(store.journal, "read_only", True)
    assert store.verify("model").verdict is Verdict.MISSING
    assert store.version("model").state is State.LIVE


def test_gone_version_is_said_to_be_gone(store: Lineage, version: Version) -> None:
    store.retire("model", "no longer needed")
    found = store.verify("model:v1")
    assert found.verdict is Verdict.GONE
    assert "was deleted" in found.sentence


def test_torch_file_with_the_random_id_must_be_there_but_may_differ(
    store: Lineage, run: Run, out: Path
) -> None:
    (out / ".metadata").write_bytes(b"id-1")
    run.publish("ckpt", path=out, type="model")
    store.seal("ckpt")
    (out / ".metadata").write_bytes(b"id-2")
    assert store.verify("ckpt").verdict is Verdict.UNCHANGED
    (out / ".metadata").unlink()
    assert store.verify("ckpt").verdict is Verdict.CHANGED


def test_what_changes_while_it_is_verified_is_no_longer_as_it_was(
    store: Lineage, version: Version, out: Path
) -> None:
    store.seal("model")
    found = store.verify("model", lambda *_: (out / "more").touch())
    assert found.verdict is Verdict.CHANGED
    assert "while it was read" in found.sentence


def test_sha256_of_another_system_is_verified(store: Lineage, out: Path) -> None:
    path = out / "weights.bin"
    wanted = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    location = store.locate(path)
    event = ev.Imported(
        name="theirs", number=3, type="model", origin={"system": "x"}, location=location,
        digest=wanted,
    )  # fmt: skip
    store.commit(event)
    assert store.verify("theirs").verdict is Verdict.UNCHANGED
    path.write_bytes(b"\x02" * 1000)
    assert store.verify("theirs").verdict is Verdict.CHANGED


def test_version_without_anything_to_compare_is_unverified(store: Lineage, out: Path) -> None:
    event = ev.Imported(
        name="theirs", number=3, type="model", origin={"system": "x"}, location=store.locate(out)
    )
    store.commit(event)
    found = store.verify("theirs")
    assert found.verdict is Verdict.UNVERIFIED
    assert "nothing is known to compare" in found.sentence
    assert socket.gethostname() == found.version.location.host
