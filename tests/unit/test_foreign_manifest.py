"""The manifest layout: what is read from it, what is said of it, and what is written in it."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron import lineage
from nemotron.lineage import (
    Input,
    Lineage,
    LineageError,
    PublishRefused,
    SourceURI,
    State,
    StoreNotFoundError,
    StoreUnsuitable,
    URIError,
    Version,
    VersionId,
)
from nemotron.lineage.events import Receipt
from nemotron.lineage.files import Files
from nemotron.lineage.foreign.folders import Skipped, folder_of, name_of
from nemotron.lineage.foreign.importing import ImportReport
from nemotron.lineage.foreign.manifest import import_manifests, write_manifests

ROOT = Path(__file__).parents[2]
EARLY, LATER = "2026-01-02T03:04:05+01:00", "2026-02-02T03:04:05+01:00"


def put(root: Path, named: str, number: int, path: object, **facts: Any) -> Path:
    """Write one version as the tracker of the manifest layout does."""
    folder = root / named / f"v{number}"
    folder.mkdir(parents=True)
    manifest = {
        "name": named, "version": number, "type": "model", "path": str(path), "created_at": EARLY,
        "producer": "local", "metadata": {}, "inputs": [], "used_artifacts": [], **facts,
    }  # fmt: skip
    metadata = {
        key: manifest[key] for key in ("path", "type", "metadata", "created_at", "producer")
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2, default=str))
    (folder / "metadata.json").write_text(json.dumps({**metadata, "tracking": None}, indent=2))
    (root / named / "latest").write_text(f"v{number}")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "bytes"
    folder.mkdir()
    return folder


def oddity(report: ImportReport) -> str:
    """Return the only oddity."""
    (sentence,) = report.oddities
    assert "\n" not in sentence
    return sentence


def edit(folder: Path, **facts: Any) -> None:
    """Change a manifest."""
    file = folder / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


# ------------------------------------------------------------------------- import


def test_import_keeps_number_type_metadata_time_and_place(
    store: Lineage, root: Path, place: Path
) -> None:
    put(root, "nano3-model", 1, place, metadata={"iteration": 500}, producer="job-7")
    report = import_manifests(store, root)
    assert report == ImportReport(imported=(VersionId("nano3-model", 1),))
    version = store.resolve("nano3-model")
    assert (version.number, version.type, version.path) == (1, "model", place)
    assert version.metadata == {"iteration": 500}
    assert version.occurred.isoformat() == "2026-01-02T02:04:05+00:00"
    assert version.origin is not None
    assert version.origin["system"] == "manifest"
    assert version.origin["root"] == str(root)
    assert version.origin["file"] == "nano3-model/v1/manifest.json"
    assert version.origin["producer"] == "job-7"


def test_importing_again_adds_nothing(store: Lineage, root: Path, place: Path) -> None:
    for number in (1, 2):
        (place / str(number)).mkdir()
        put(root, "m", number, place / str(number))
    first = import_manifests(store, root)
    head = store.journal.head()
    second = import_manifests(store, root)
    assert second == ImportReport(there=first.imported)
    assert store.journal.head() == head
    (place / "3").mkdir()
    put(root, "m", 3, place / "3")
    assert import_manifests(store, root).imported == (VersionId("m", 3),)


def test_name_of_imported_versions_refuses_local_publishing(
    store: Lineage, root: Path, place: Path
) -> None:
    put(root, "m", 1, place)
    import_manifests(store, root)
    with store.run("x") as run, pytest.raises(PublishRefused, match="imported from manifest"):
        run.publish("m", path=place, type="model")
    with store.run("x") as run:
        run.record("m", path=place, type="model")
    assert [version.number for version in store.log("m")] == [1]
    assert store.resolve("m?origin=local").number == 1


def test_name_that_is_published_here_is_left_out_alone(
    store: Lineage, root: Path, place: Path
) -> None:
    with store.run("x") as run:
        run.publish("mine", path=place, type="model")
    put(root, "mine", 1, place)
    put(root, "other", 1, place, used_artifacts=["mine:v1"])
    report = import_manifests(store, root)
    assert report.imported == (VersionId("other", 1),)
    assert report.skipped == (Skipped("mine", "v1"),)
    assert "art://mine: holds versions published here" in report.oddities[0]
    assert "'mine:v1' is no version that was imported" in report.oddities[1]
    assert store.inputs("other") == [], "mine:v1 here is not the mine:v1 that was meant"


def test_name_is_taken_from_one_registry_only(store: Lineage, tmp_path: Path, place: Path) -> None:
    put(tmp_path / "a", "m", 1, place, metadata={"of": "a"})
    put(tmp_path / "b", "m", 1, place, metadata={"of": "b"})
    put(tmp_path / "b", "m", 2, place / "..", metadata={"of": "b"})
    import_manifests(store, tmp_path / "a")
    report = import_manifests(store, tmp_path / "b")
    assert report.imported == ()
    assert [skipped.what for skipped in report.skipped] == ["v1", "v2"]
    assert f"was imported from {tmp_path}/a" in oddity(report)


def test_registry_that_was_moved_goes_on(store: Lineage, tmp_path: Path, place: Path) -> None:
    put(tmp_path / "a", "m", 1, place)
    import_manifests(store, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    put(tmp_path / "b", "m", 2, place / "..")
    report = import_manifests(store, tmp_path / "b")
    assert report == ImportReport(imported=(VersionId("m", 2),), there=(VersionId("m", 1),))


def test_manifest_that_changed_is_told_and_not_followed(
    store: Lineage, root: Path, place: Path
) -> None:
    folder = put(root, "m", 1, place, metadata={"loss": 2})
    import_manifests(store, root)
    edit(folder, metadata={"loss": 1})
    report = import_manifests(store, root)
    assert report.there == (VersionId("m", 1),)
    assert "changed since art://m:v1 was imported" in oddity(report)
    assert store.resolve("m").metadata == {"loss": 2}


def test_inputs_become_edges(store: Lineage, root: Path, place: Path) -> None:
    data = place / "data"
    data.mkdir()
    put(root, "a-model", 1, place, created_at=EARLY,
        used_artifacts=["z-data:v1", "art://z-data:v2", "z-data:1"],
        inputs=["hf://org/raw@main", "s3://bucket/key?X-Amz-Signature=abc", str(place / "x.txt"),
                f"file://{data}"])  # fmt: skip
    put(root, "z-data", 1, place / "..", type="dataset", created_at=LATER)
    put(root, "z-data", 2, data, type="dataset", created_at=LATER)
    report = import_manifests(store, root)
    assert report.oddities == ()
    assert report.imported[-1] == VersionId("a-model", 1), "inputs come first"
    assert {(each.target, each.revision) for each in store.inputs("a-model")} == {
        (VersionId("z-data", 1), None), (VersionId("z-data", 2), None),
        (SourceURI("hf://org/raw"), "main"), (SourceURI("s3://bucket/key"), None),
        (SourceURI(f"file://{place}/x.txt"), None),
    }  # fmt: skip
    assert [node.uri for node in store.lineage("hf://org/raw").descendants()] == [
        "art://a-model:v1"
    ]


def test_input_of_a_place_where_a_published_version_lies_is_that_version(
    store: Lineage, root: Path, place: Path, tmp_path: Path
) -> None:
    with store.run("x") as run:
        version = run.publish("tokens", path=place, type="dataset")
    put(root, "m", 1, tmp_path, inputs=[str(place)])
    import_manifests(store, root)
    assert [each.target for each in store.inputs("m")] == [version.id]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("data:latest", "names no version by its number"),
        ("data", "names no version by its number"),
        ("absent:v1", "is no version that was imported"),
        ("two words", "is no reference: only visible ASCII"),
        ("./here", "is a relative path"),
        ("m:v1", "is the version itself"),
        ("https://me:pw@host/x", "is no reference: it holds a user name or password"),
    ],
)
def test_input_that_is_unclear_is_kept_as_text(
    store: Lineage, root: Path, place: Path, text: str, why: str
) -> None:
    put(root, "data", 1, place / "..")
    put(root, "m", 1, place, used_artifacts=[text])
    report = import_manifests(store, root)
    assert why in oddity(report)
    assert "kept in the origin of art://m:v1" in oddity(report)
    assert len(report.imported) == 2
    version = store.resolve("m")
    assert version.origin is not None
    assert version.origin["inputs"] == [text.replace("me:pw", "[redacted]")]
    assert "pw@" not in oddity(report)
    assert store.inputs("m") == []


def test_input_that_is_no_text_is_told(store: Lineage, root: Path, place: Path) -> None:
    put(root, "m", 1, place, inputs=[7], used_artifacts="hf://org/x")
    assert "the input 7 is no text" in oddity(import_manifests(store, root))
    assert [each.target for each in store.inputs("m")] == [SourceURI("hf://org/x")]


def test_ring_of_inputs_is_imported(store: Lineage, root: Path, place: Path) -> None:
    put(root, "a", 1, place, used_artifacts=["b:v1"])
    put(root, "b", 1, place / "..", used_artifacts=["a:v1"])
    assert len(import_manifests(store, root).imported) == 2
    assert [each.target for each in store.inputs("a")] == [VersionId("b", 1)]


def test_chain_longer_than_the_stack_is_imported_in_order(tmp_path: Path, root: Path) -> None:
    count = 1100
    for number in range(1, count + 1):
        used = [f"m:v{number + 1}"] if number < count else []  # the clock of the last was first
        put(root, "m", number, f"s3://bucket/{number}", used_artifacts=used)
    with lineage.open("memory:") as store:
        report = import_manifests(store, root)
    assert [version.number for version in report.imported] == list(range(count, 0, -1))


def test_secrets_do_not_pass(store: Lineage, root: Path, place: Path) -> None:
    put(root, "m", 1, place, metadata={"api_key": "abc", "loss": 1}, producer="hf_" + "a" * 30)
    import_manifests(store, root)
    version = store.resolve("m")
    assert version.metadata == {"api_key": "[redacted]", "loss": 1}
    assert version.origin is not None
    assert version.origin["producer"] == "[redacted]"


def test_nan_does_not_kill_the_import(store: Lineage, root: Path, place: Path) -> None:
    folder = put(root, "m", 1, place, metadata={"loss": float("nan"), "step": 3})
    assert "NaN" in (folder / "manifest.json").read_text()
    report = import_manifests(store, root)
    assert "NaN or infinity in metadata.loss; imported as null" in oddity(report)
    version = store.resolve("m")
    assert version.metadata == {"loss": None, "step": 3}
    assert version.origin is not None
    assert version.origin["non_finite"] == ["metadata.loss"]
    assert import_manifests(store, root).there == (VersionId("m", 1),)


def test_address_as_path_and_folders_in_folders(store: Lineage, root: Path) -> None:
    put(root, "nano3/sft/model", 1, "s3://bucket/model")
    assert import_manifests(store, root).oddities == ()
    assert store.resolve("nano3/sft/model").address == "s3://bucket/model"


# ------------------------------------------------------------- what is inconsistent


def test_missing_manifest_leaves_the_version_out(store: Lineage, root: Path, place: Path) -> None:
    put(root, "m", 1, place)
    (root / "m" / "v2").mkdir()  # made before the crash
    report = import_manifests(store, root)
    assert report.imported == (VersionId("m", 1),)
    assert report.skipped == (Skipped("m", "v2"),)
    assert f"{root}/m/v2/manifest.json: is missing" in oddity(report)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"name": "m", "vers', "is damaged: no JSON"),
        (b"", "is damaged: no JSON"),
        (b"\xff\xfe", "is damaged: no JSON"),
        (b"[" * 100_000, "is damaged: no JSON"),
        (b'{"path": "\\ud800"}', "is damaged: no JSON"),
        (b"[1]", "is damaged: no JSON object"),
        (b'{"type": "model"}', "has no path"),
        (b'{"path": "/x", "type": 3}', "has no type"),
        (b'{"path": "/x", "type": "m", "metadata": [1]}', "has metadata that is no JSON object"),
        (b'{"path": "x/y", "type": "m"}', "is no absolute path or address"),
        (b'{"path": "/x\\u0000", "type": "m"}', "is no absolute path or address"),
        (b'{"path": "s3://me:pw@b/x", "type": "m"}', "it holds a user name or password"),
        (
            b'{"path": "/x", "type": "m", "metadata": {"t": "' + b"x" * 2**20 + b'"}}',
            "over 1 MiB",
        ),
    ],
)
def test_damaged_manifest_leaves_the_version_out(
    store: Lineage, root: Path, place: Path, content: bytes, why: str
) -> None:
    put(root, "m", 1, place)
    folder = put(root, "m", 2, place / "..")
    (folder / "manifest.json").write_bytes(content)
    report = import_manifests(store, root)
    assert report.imported == (VersionId("m", 1),)
    assert report.skipped == (Skipped("m", "v2"),)
    assert any(f"{folder}/manifest.json: " in each and why in each for each in report.oddities)
    assert not any("pw@" in each for each in report.oddities)


def test_manifest_that_cannot_be_read_leaves_the_version_out(
    store: Lineage, root: Path, place: Path
) -> None:
    folder = put(root, "m", 1, place)
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()
    report = import_manifests(store, root)
    assert "cannot be read (Is a directory)" in report.oddities[0]


def test_folder_decides_about_number_and_name(store: Lineage, root: Path, place: Path) -> None:
    edit(put(root, "m", 1, place), version=5, name="n")
    report = import_manifests(store, root)
    assert report.imported == (VersionId("m", 1),)
    number, name = report.oddities
    assert "says version 5 in the folder of v1; imported by its folder" in number
    assert "says name 'n' in the folder of m; imported by its folder" in name


def test_gap_in_numbers_is_told(store: Lineage, root: Path, place: Path) -> None:
    for number in (2, 3, 7):
        (place / str(number)).mkdir()
        put(root, "m", number, place / str(number))
    report = import_manifests(store, root)
    assert [version.number for version in report.imported] == [2, 3, 7]
    assert "there is no v1, v4 to v6" in oddity(report)


def test_versions_with_one_path_are_told(store: Lineage, root: Path, place: Path) -> None:
    put(root, "m", 1, place)
    put(root, "m", 2, place)
    put(root, "n", 1, place)
    report = import_manifests(store, root)
    assert len(report.imported) == 3
    assert f"art://m:v1, art://m:v2, art://n:v1 have one path, {place}" in oddity(report)
    for reference in ("m:v1", "m:v2"):
        store.retire(reference, "overwritten")
    assert import_manifests(store, root).oddities == ()


def test_path_that_is_gone_is_imported_as_declared(
    store: Lineage, root: Path, place: Path, tmp_path: Path
) -> None:
    put(root, "m", 1, tmp_path / "gone")
    report = import_manifests(store, root)
    assert f"{tmp_path}/gone is not there on this host; imported as declared" in oddity(report)
    assert store.resolve("m").location.external
    store.relocate("m", place)
    assert import_manifests(store, root).oddities == (), "it was found again"


@pytest.mark.parametrize(("key", "value"), [("path", "/elsewhere"), ("type", "dataset")])
def test_metadata_file_that_disagrees_is_told(
    store: Lineage, root: Path, place: Path, key: str, value: str
) -> None:
    file = put(root, "m", 1, place) / "metadata.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    report = import_manifests(store, root)
    assert f"{file}: says {key} {value!r}, manifest.json says" in oddity(report)
    assert (store.resolve("m").path, store.resolve("m").type) == (place, "model")


def test_metadata_file_may_hold_the_path_before_links_are_resolved(
    store: Lineage, root: Path, place: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(place)
    file = put(root, "m", 1, place) / "metadata.json"
    for path in (str(tmp_path / "link"), "bytes", "./bytes"):
        file.write_text(json.dumps({"type": "model", "path": path}))
        assert import_manifests(store, root).oddities == ()


@pytest.mark.parametrize(("content", "why"), [(None, "is missing"), ("{", "is damaged: no JSON")])
def test_metadata_file_that_is_missing_or_damaged_is_told(
    store: Lineage, root: Path, place: Path, content: str | None, why: str
) -> None:
    file = put(root, "m", 1, place) / "metadata.json"
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    report = import_manifests(store, root)
    assert report.imported == (VersionId("m", 1),)
    assert f"{file}: {why}" in oddity(report)


@pytest.mark.parametrize(
    "name", ["m/.latest_tmp_71", "m/v1/manifest.json.tmp.71", "m/v1/metadata.json.tmp.71",
             "m/.new-abcdefghij234567"],
)  # fmt: skip
def test_temporary_file_is_told(store: Lineage, root: Path, place: Path, name: str) -> None:
    put(root, "m", 1, place)
    (root / name).write_text("{")
    assert f"{root}/{name}: is left over from a write" in oddity(import_manifests(store, root))


@pytest.mark.parametrize(
    ("latest", "why"),
    [
        ("v1", "says 'v1', the highest that is whole and not gone is v2"),
        ("v9", "says 'v9', which is not there"),
        ("newest", "says 'newest', which is not there"),
        (None, "is missing: the write was cut off"),
        (b"\xff", "cannot be read"),
    ],
)
def test_latest_that_is_not_the_highest_is_told(
    store: Lineage, root: Path, place: Path, latest: str | bytes | None, why: str
) -> None:
    put(root, "m", 1, place)
    put(root, "m", 2, place / "..")
    file = root / "m" / "latest"
    if latest is None:
        file.unlink()
    else:
        file.write_bytes(latest if isinstance(latest, bytes) else latest.encode())
    report = import_manifests(store, root)
    assert f"{file}: {why}" in oddity(report)
    assert oddity(report).endswith("v2 here")
    assert store.resolve("m").number == 2


@pytest.mark.parametrize("name", ["two words", "%zz", "a%2Fb", "data%20x", "_m", "x" * 129, "d?s"])
def test_name_that_cannot_be_is_told_and_not_bent(
    store: Lineage, root: Path, place: Path, name: str
) -> None:
    put(root, name, 1, place)
    report = import_manifests(store, root)
    assert report.skipped == (Skipped(name, "v1"),)
    assert f"{root}/{name}: is the folder of no name" in oddity(report)
    assert store.artifacts() == []


def test_name_of_the_tracker_with_a_variant_is_taken(
    store: Lineage, root: Path, place: Path
) -> None:
    put(root, "data?sample=100", 1, place)
    assert import_manifests(store, root).imported == (VersionId("data?sample=100", 1),)
    put(root, "data%3Fsample%3D100", 1, place, name="data?sample=100")
    report = import_manifests(store, root)
    assert "is art://data?sample=100:v1 a second time" in "".join(report.oddities)


@pytest.mark.parametrize("folder", ["v01", f"v{2**63}"])
def test_number_that_cannot_be_is_told(
    store: Lineage, root: Path, place: Path, folder: str
) -> None:
    put(root, "m", 1, place)
    (root / "m" / folder).mkdir()
    report = import_manifests(store, root)
    assert report.skipped == (Skipped("m", folder),)
    assert "is no version number" in oddity(report)


def test_links_and_hidden_folders_are_not_followed(store: Lineage, root: Path, place: Path) -> None:
    put(root, "m", 1, place)
    put(root, ".trash/m", 1, place)
    (root / "n").symlink_to(root / "m")
    (root / "m" / "v2").symlink_to(root / "m" / "v1")
    report = import_manifests(store, root)
    assert report.imported == (VersionId("m", 1),)
    assert sorted(report.skipped) == [Skipped("m", "v2"), Skipped("n", "")]


def test_time_that_is_none_is_told(store: Lineage, root: Path, place: Path) -> None:
    put(root, "m", 1, place, created_at="yesterday")
    assert "created_at is 'yesterday', no ISO time" in oddity(import_manifests(store, root))
    put(root, "n", 1, place / "..", created_at=None)
    assert import_manifests(store, root).imported == (VersionId("n", 1),)


def test_root_without_manifests_is_refused(store: Lineage, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="there is no folder"):
        import_manifests(store, tmp_path / "nope")
    with pytest.raises(StoreNotFoundError, match="there is no manifest under"):
        import_manifests(store, tmp_path)
    (tmp_path / ".art_index.json").write_text("{}")
    with pytest.raises(StoreNotFoundError, match="lineage import registry"):
        import_manifests(store, tmp_path)
    with pytest.raises(StoreUnsuitable, match="no local folder"):
        import_manifests(store, "s3://bucket/x")
    with pytest.raises(StoreUnsuitable, match="no local folder"):
        write_manifests(store, "hf://org/x")


# ------------------------------------------------------------------------- export


@pytest.fixture
def filled(store: Lineage, place: Path) -> Lineage:
    """A store with two names and edges of all kinds."""
    (place / "data").mkdir()
    with store.run("prep") as run:
        run.use("hf://org/raw@main", weight=0.5, tokens=100)
        run.publish(
            "data?sample=100",
            path=place / "data",
            type="dataset",
            metadata={"total": 10},
            digest="now",
        )
    with store.run("sft") as run:
        run.use("data?sample=100", split="train")
        run.use("https://host/teacher", role="teacher")
        run.publish("nano3/model", path=place, type="model", metadata={"loss": 2.5, "step": 1})
        run.publish("nano3/model", path=place / "..", type="model", metadata={"step": 2})
    return store


def manifest(root: Path, folder: str) -> dict[str, Any]:
    """Read a manifest."""
    values: dict[str, Any] = json.loads((root / folder / "manifest.json").read_text())
    return values


def test_export_writes_what_the_tracker_writes(filled: Lineage, root: Path, place: Path) -> None:
    report = write_manifests(filled, root)
    assert [str(version) for version in report.written] == [
        "art://data?sample=100:v1", "art://nano3/model:v1", "art://nano3/model:v2",
    ]  # fmt: skip
    assert sorted(os.listdir(root)) == ["data%3Fsample%3D100", "nano3"]
    assert (root / "nano3/model/latest").read_text() == "v2"
    written = manifest(root, "nano3/model/v1")
    version = filled.resolve("nano3/model:v1")
    mark = written.pop("lineage")
    assert written == {
        "name": "nano3/model", "version": 1, "type": "model", "path": str(place),
        "created_at": version.occurred.isoformat(timespec="microseconds")[:-6] + "Z",
        "producer": version.run, "metadata": {"loss": 2.5, "step": 1},
        "inputs": ["https://host/teacher"], "used_artifacts": ["data?sample=100:v1"],
    }  # fmt: skip
    assert mark["journal"] == filled.journal.id
    assert mark["uri"] == "art://nano3/model:v1"
    beside = json.loads((root / "nano3/model/v1/metadata.json").read_text())
    assert (beside["path"], beside["type"], beside["step"]) == (str(place), "model", 1)


def test_export_writes_only_what_is_new(filled: Lineage, root: Path, place: Path) -> None:
    write_manifests(filled, root)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    head = filled.journal.head()
    report = write_manifests(filled, root)
    assert (report.written, len(report.unchanged)) == ((), 3)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert filled.journal.head() == head, "no receipt where nothing was written"
    filled.describe("nano3/model:v1", {"eval": 0.7})
    assert write_manifests(filled, root).written == (VersionId("nano3/model", 1),)
    assert manifest(root, "nano3/model/v1")["metadata"]["eval"] == 0.7


def test_export_leaves_a_receipt(filled: Lineage, root: Path) -> None:
    before = filled.journal.head()
    write_manifests(filled, root)
    (commit,) = filled.journal.read(before.number, before.number + 1)
    (entry,) = commit.entries
    assert isinstance(entry.event, Receipt)
    assert entry.event.mirror == f"manifest:{root}"
    assert entry.event.head == before.hash
    assert entry.event.delivered["art://data?sample=100:v1"] == "data%3Fsample%3D100/v1"


def test_deleted_version_says_so_and_latest_moves(filled: Lineage, root: Path) -> None:
    write_manifests(filled, root)
    filled.retire("nano3/model:v2", "bad")
    assert write_manifests(filled, root).written == (VersionId("nano3/model", 2),)
    assert manifest(root, "nano3/model/v2")["state"] == "deleted"
    assert (root / "nano3/model/latest").read_text() == "v1"
    filled.retire("nano3/model:v1", "bad")
    write_manifests(filled, root)
    assert not (root / "nano3/model/latest").exists()
    with lineage.open("memory:") as other:
        report = import_manifests(other, root)
        assert report.oddities == ()
        assert {version.state for version in other.log("nano3/model")} == {State.DELETED}
        assert import_manifests(other, root).there == tuple(sorted(report.imported))


def test_deletion_is_followed_by_a_later_import(filled: Lineage, root: Path) -> None:
    with lineage.open("memory:") as other:
        write_manifests(filled, root)
        import_manifests(other, root)
        other.hold("nano3/model:v1", "paper")
        for version in ("v1", "v2"):
            filled.retire(f"nano3/model:{version}", "bad")
        write_manifests(filled, root)
        report = import_manifests(other, root)
        assert other.version("nano3/model:v2").state is State.DELETED
        assert other.version("nano3/model:v1").state is State.LIVE
        assert "is deleted there, but art://nano3/model:v1 is held (paper)" in oddity(report)


def test_name_of_imported_versions_is_not_exported(
    filled: Lineage, root: Path, tmp_path: Path, place: Path
) -> None:
    put(tmp_path / "old", "theirs", 1, place / ".." / "..")
    import_manifests(filled, tmp_path / "old")
    report = write_manifests(filled, root)
    assert report.foreign == (VersionId("theirs", 1),)
    assert (len(report.written), report.skipped, report.oddities) == (3, (), ())
    assert not (root / "theirs").exists()


@pytest.mark.parametrize("half", [False, True])
def test_folder_of_somebody_else_is_never_touched(
    filled: Lineage, root: Path, place: Path, *, half: bool
) -> None:
    write_manifests(filled, root)
    theirs = put(root, "nano3/model", 3, place)
    if half:
        for file in theirs.iterdir():
            file.unlink()
    before = {path: path.stat().st_mtime_ns for path in (root / "nano3").rglob("*")}
    with filled.run("more") as run:
        run.publish("nano3/model", path=place, type="model")
    report = write_manifests(filled, root)
    assert [skipped.what for skipped in report.skipped] == ["v1", "v2", "v3"]
    assert f"somebody else wrote {theirs}" in report.oddities[0]
    assert {path: path.stat().st_mtime_ns for path in (root / "nano3").rglob("*")} == before


def test_folder_of_another_store_is_never_touched(
    filled: Lineage, root: Path, place: Path, tmp_path: Path
) -> None:
    with lineage.open(tmp_path / "second.db") as second:
        with second.run("x") as run:
            run.publish("nano3/model", path=place, type="model")
        write_manifests(second, root)
    before = manifest(root, "nano3/model/v1")
    assert len(write_manifests(filled, root).skipped) == 2
    assert manifest(root, "nano3/model/v1") == before


def test_damaged_manifest_is_not_ours(filled: Lineage, root: Path) -> None:
    write_manifests(filled, root)
    (root / "nano3/model/v1/manifest.json").write_text("{")
    assert len(write_manifests(filled, root).skipped) == 2


def test_name_longer_than_a_folder_is_left_out(filled: Lineage, root: Path, place: Path) -> None:
    long = "data?" + "&".join(f"k{n}={'x' * 20}" for n in range(10))
    with filled.run("x") as run:
        run.publish(long, path=place, type="dataset")
    report = write_manifests(filled, root)
    assert "is longer than a folder's name may be" in report.oddities[0]
    assert len(report.written) == 3


def test_own_export_is_known_when_it_is_imported(filled: Lineage, root: Path, place: Path) -> None:
    write_manifests(filled, root)
    put(root, "theirs", 1, place / ".." / "..", used_artifacts=["nano3/model:v1"])
    report = import_manifests(filled, root)
    assert len(report.there) == 3
    assert report.imported == (VersionId("theirs", 1),)
    assert report.oddities == ()
    assert [each.target for each in filled.inputs("theirs")] == [VersionId("nano3/model", 1)]


def test_round_trip_keeps_numbers_metadata_inputs_and_digest(
    filled: Lineage, root: Path, tmp_path: Path
) -> None:
    filled.retire("nano3/model:v2", "bad")
    with filled.run("exact") as run:
        given = (
            Input(target=VersionId("nano3/model", 1), role="init"),
            Input(target=SourceURI("s3://b/x"), revision="7", digest="sha256:" + "a" * 64, size=9),
        )
        run.publish("last", path=tmp_path, type="model", inputs=given)
    write_manifests(filled, root)
    with lineage.open(tmp_path / "other.db") as other:
        report = import_manifests(other, root)
        for artifact in filled.artifacts():
            ours, theirs = filled.log(artifact.name), other.log(artifact.name)
            assert [_kept(version) for version in theirs] == [_kept(version) for version in ours]
            for version in ours:
                assert other.inputs(version) == filled.inputs(version)
        assert other.resolve("nano3/model").number == 1
        assert len(report.imported) == 4


def _kept(version: Version) -> tuple[object, ...]:
    return (
        version.uri, version.type, version.address, version.metadata, version.state,
        version.occurred, version.digest,
    )  # fmt: skip


NAMES = st.from_regex(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}(/[A-Za-z0-9][A-Za-z0-9._-]{0,8}){0,2}"
    r"(\?[a-z][a-z0-9_]{0,4}=[A-Za-z0-9._-]{1,6})?", fullmatch=True,
)  # fmt: skip


@given(NAMES | st.sampled_from(["v1", "a/v2/latest", "latest", "a/latest?v1=v2", "a?x=1&y=2"]))
def test_folder_leads_back_to_its_name(name: str) -> None:
    folder = folder_of(name)
    assert name_of(folder) == name
    for segment in folder.split("/"):
        assert segment != "latest"
        assert not segment.removeprefix("v").isdigit() or not segment.startswith("v")
        assert not set(segment) & set("?=&")


def test_names_that_look_like_versions_do_not_meet(store: Lineage, root: Path, place: Path) -> None:
    names = ["data", "data/v1", "data/latest", "v1"]
    with store.run("x") as run:
        for name in names:
            run.publish(name, path=place, type="dataset")
    assert write_manifests(store, root).oddities == ()
    with lineage.open("memory:") as other:
        import_manifests(other, root)
        assert [artifact.name for artifact in other.artifacts()] == sorted(names)
    with pytest.raises(URIError):
        name_of("data:v1")


# -------------------------------------------------------------- faults of the export


class _Full(Files):
    """A disk that is full after so many files."""

    left = 3

    def put_over(self, path: str, data: bytes) -> None:
        if _Full.left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        _Full.left -= 1
        super().put_over(path, data)


@pytest.mark.parametrize("files", range(8))
def test_full_disk_leaves_whole_files_and_the_next_export_goes_on(
    filled: Lineage, root: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    monkeypatch.setattr("nemotron.lineage.foreign.exporting.Files", _Full)
    _Full.left = files
    head = filled.journal.head()
    with pytest.raises(LineageError, match=r"No space left on device; the . versions") as caught:
        write_manifests(filled, root)
    assert isinstance(caught.value.__cause__, OSError)
    whole = list(root.rglob("v*/manifest.json"))
    assert len(whole) == len(list(root.rglob("v*/metadata.json")))
    assert (filled.journal.head() != head) == bool(whole), "a receipt for what was written"
    assert list(root.rglob(".new-*")) == []
    monkeypatch.undo()
    report = write_manifests(filled, root)
    assert len(report.written) == 3 - len(whole)
    with lineage.open("memory:") as other:
        assert import_manifests(other, root).oddities == ()


def test_old_temporaries_are_swept(filled: Lineage, root: Path) -> None:
    write_manifests(filled, root)
    folder = root / "nano3" / "model"
    (folder / ".new-aaaa").mkdir()
    (folder / ".new-aaaa" / "manifest.json").write_text("{")
    (folder / ".new-bbbb").write_text("v")
    (folder / ".new-cccc").mkdir()
    for name in (".new-aaaa", ".new-bbbb"):
        os.utime(folder / name, (1, 1))
    write_manifests(filled, root)
    assert sorted(path.name for path in folder.glob(".new-*")) == [".new-cccc"], "it is in use"


def test_version_that_another_export_wrote_meanwhile_is_left_to_it(
    filled: Lineage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def rename(source: str, target: str) -> None:
        if not os.path.exists(target):
            monkeypatch.undo()
            write_manifests(filled, root)  # the other one, at the worst moment
        real(source, target)

    monkeypatch.setattr("os.rename", rename)
    report = write_manifests(filled, root)
    assert len(report.written) + len(report.unchanged) == 3
    assert list(root.rglob(".new-*")) == []


EXPORT = """
import sys
import nemotron.lineage as lineage
from nemotron.lineage.foreign.manifest import write_manifests
with lineage.open(sys.argv[1]) as store:
    print("go", flush=True)
    write_manifests(store, sys.argv[2])
"""


def _export(store: Path, root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", EXPORT, str(store), str(root)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools" / "ns")},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    return process


def _publish(store: Lineage, numbers: range) -> None:
    with store.run("many") as run:
        for n in numbers:
            run.publish(f"model-{n % 5}", path=f"s3://bucket/{n}", type="model", metadata={"n": n})


def _check(store: Lineage, root: Path, count: int) -> None:
    """Import a root into a new store, and look whether it is what the store says."""
    with lineage.open("memory:") as other:
        report = import_manifests(other, root)
        assert not any("damaged" in oddity or "missing" in oddity for oddity in report.oddities)
        assert report.skipped == ()
        assert len(report.imported) == count
        for artifact in store.artifacts():
            assert [_kept(each) for each in other.log(artifact.name)] == [
                _kept(each) for each in store.log(artifact.name)
            ]
            latest = (root / artifact.name / "latest").read_text()
            assert latest == f"v{artifact.latest}"


def test_killed_export_leaves_a_root_that_is_whole(tmp_path: Path, root: Path, place: Path) -> None:
    draw = random.Random(3)
    with lineage.open(tmp_path / "lineage.db") as store:
        _publish(store, range(60))
        for _ in range(6):
            process = _export(tmp_path / "lineage.db", root)
            time.sleep(draw.random() * 0.05)
            process.kill()
            process.communicate()
            with lineage.open("memory:") as other:
                if list(root.rglob("v*/manifest.json")):
                    report = import_manifests(other, root)
                    assert report.skipped == ()
                    assert not any("damaged" in each for each in report.oddities)
                    assert not any("manifest.json: is missing" in each for each in report.oddities)
        write_manifests(store, root)
        _check(store, root, 60)


def test_concurrent_exports_end_right(tmp_path: Path, root: Path, place: Path) -> None:
    with lineage.open(tmp_path / "lineage.db") as store:
        _publish(store, range(30))
        exports = [_export(tmp_path / "lineage.db", root) for _ in range(3)]
        _publish(store, range(30, 40))
        store.retire("model-0:v1", "bad")
        store.retire("model-1:latest", "bad")
        exports.append(_export(tmp_path / "lineage.db", root))
        for process in exports:
            process.communicate()
            assert process.returncode == 0
        _check(store, root, 40)
        assert list(root.rglob(".new-*")) == []
        assert write_manifests(store, root).written == ()
