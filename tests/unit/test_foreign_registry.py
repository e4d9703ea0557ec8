"""The registry of full copies with its one index: what is read from it, and what is said of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nemotron.lineage import (
    Lineage,
    LineageError,
    PublishRefused,
    StoreNotFoundError,
    VersionId,
)
from nemotron.lineage.foreign.art_index import import_art_index
from nemotron.lineage.foreign.folders import Skipped
from nemotron.lineage.foreign.importing import ImportReport
from nemotron.lineage.foreign.manifest import import_manifests

CREATED = "2025-12-02T03:04:05+01:00"


class Registry:
    """Writes what the earlier registry writes, in the same order."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        self.entries: dict[str, Any] = {}

    def publish(self, name: str, source: Path, metadata: dict[str, Any] | None = None) -> Path:
        entry = self.entries.setdefault(name, {"name": name, "versions": [], "aliases": {}})
        number = max((each["version"] for each in entry["versions"]), default=0) + 1
        folder = self.root / name / f"v{number}"
        folder.mkdir(parents=True, exist_ok=True)
        for item in source.iterdir():
            shutil.copy2(item, folder / item.name)
        entry["versions"].append(
            {"version": number, "path": str(folder), "created_at": CREATED,
             "metadata": metadata or {}}
        )  # fmt: skip
        entry["aliases"]["latest"] = number
        self.save()
        return folder

    def alias(self, name: str, alias: str, number: object) -> None:
        self.entries[name]["aliases"][alias] = number
        self.save()

    def save(self) -> None:
        text = json.dumps(self.entries, indent=2)
        (self.root / ".art_index.json").write_text(text)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "artifacts")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What an artifact of that release was: files, and the metadata.json of its save()."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "tokens.bin").write_bytes(b"\0" * 10)
    saved = {
        "path": str(folder), "type": "SFTDataArtifact", "metadata": {"total": 10},
        "created_at": CREATED, "producer": "local", "tracking": None, "name": "nano3/sft/data",
    }  # fmt: skip
    (folder / "metadata.json").write_text(json.dumps(saved))
    return folder


def oddity(report: ImportReport) -> str:
    """Return the only oddity."""
    (sentence,) = report.oddities
    assert "\n" not in sentence
    return sentence


def test_import_keeps_numbers_types_aliases_and_copies(
    store: Lineage, registry: Registry, data: Path
) -> None:
    registry.publish("SFTDataArtifact-sft", data, {"total": 10})
    copy = registry.publish("SFTDataArtifact-sft", data, {"total": 20})
    registry.alias("SFTDataArtifact-sft", "production", 1)
    report = import_art_index(store, registry.root)
    assert report == ImportReport(
        imported=(VersionId("SFTDataArtifact-sft", 1), VersionId("SFTDataArtifact-sft", 2))
    )
    version = store.resolve("SFTDataArtifact-sft")
    assert (version.number, version.type, version.path) == (2, "SFTDataArtifact", copy)
    assert version.metadata == {"total": 20}
    assert version.occurred.isoformat() == "2025-12-02T02:04:05+00:00"
    assert version.origin is not None
    assert version.origin["system"] == "registry"
    assert version.origin["root"] == str(registry.root)
    assert version.origin["producer"] == "local"
    assert store.resolve("SFTDataArtifact-sft:production").number == 1


def test_importing_again_adds_nothing(store: Lineage, registry: Registry, data: Path) -> None:
    registry.publish("m", data)
    registry.alias("m", "production", 1)
    first = import_art_index(store, registry.root)
    head = store.journal.head()
    assert import_art_index(store, registry.root) == ImportReport(there=first.imported)
    assert store.journal.head() == head
    registry.publish("m", data)
    assert import_art_index(store, registry.root).imported == (VersionId("m", 2),)


def test_name_of_imported_versions_refuses_local_publishing(
    store: Lineage, registry: Registry, data: Path
) -> None:
    registry.publish("m", data)
    import_art_index(store, registry.root)
    with store.run("x") as run, pytest.raises(PublishRefused, match="imported from registry"):
        run.publish("m", path=data, type="artifact")


def test_name_that_is_published_here_is_left_out_alone(
    store: Lineage, registry: Registry, data: Path
) -> None:
    with store.run("x") as run:
        run.publish("mine", path=data, type="model")
    registry.publish("mine", data)
    registry.alias("mine", "production", 1)
    registry.publish("other", data)
    report = import_art_index(store, registry.root)
    assert report.imported == (VersionId("other", 1),)
    assert report.skipped == (Skipped("mine", "v1"),)
    assert "art://mine: holds versions published here" in oddity(report)
    assert store.artifacts()[0].aliases == {}


def test_copy_without_metadata_file_is_an_artifact(
    store: Lineage, registry: Registry, data: Path
) -> None:
    (data / "metadata.json").unlink()
    registry.publish("m", data, {"step": 3})
    assert import_art_index(store, registry.root).oddities == ()
    assert (store.resolve("m").type, store.resolve("m").metadata) == ("artifact", {"step": 3})


def test_copy_with_damaged_metadata_file_is_told(
    store: Lineage, registry: Registry, data: Path
) -> None:
    (registry.publish("m", data) / "metadata.json").write_text("{")
    report = import_art_index(store, registry.root)
    assert report.imported == (VersionId("m", 1),)
    assert "m/v1/metadata.json: is damaged" in oddity(report)
    assert store.resolve("m").type == "artifact"


def test_used_artifacts_of_the_copy_become_edges(
    store: Lineage, registry: Registry, data: Path
) -> None:
    registry.publish("data", data)
    folder = registry.publish("model", data)
    tracking = {"tracking": {"used_artifacts": ["data:v1", "team/project/data:v1", 7]}}
    (folder / "metadata.json").write_text(json.dumps(tracking))
    report = import_art_index(store, registry.root)
    assert [each.target for each in store.inputs("model")] == [VersionId("data", 1)]
    assert "'team/project/data:v1' is no version that was imported" in oddity(report)


def test_root_that_was_moved_is_read_where_it_is(
    store: Lineage, registry: Registry, data: Path, tmp_path: Path
) -> None:
    registry.publish("m", data)
    registry.root.rename(tmp_path / "moved")
    assert import_art_index(store, tmp_path / "moved").oddities == ()
    assert store.resolve("m").path == tmp_path / "moved" / "m" / "v1"


def test_relative_path_of_the_index_is_below_the_root(
    store: Lineage, registry: Registry, data: Path
) -> None:
    folder = registry.publish("m", data)
    registry.entries["m"]["versions"][0]["path"] = "artifacts/m/v1"
    registry.save()
    assert import_art_index(store, registry.root).oddities == ()
    assert store.resolve("m").path == folder


def test_secrets_and_nan_do_not_pass(store: Lineage, registry: Registry, data: Path) -> None:
    registry.publish("m", data, {"hf_token": "abc", "loss": float("inf")})
    report = import_art_index(store, registry.root)
    assert store.resolve("m").metadata == {"hf_token": "[redacted]", "loss": None}
    assert "NaN or infinity in metadata.loss" in oddity(report)


# ------------------------------------------------------------- what is inconsistent


def test_version_without_folder_is_imported_for_its_lineage(
    store: Lineage, registry: Registry, data: Path
) -> None:
    folder = registry.publish("m", data)
    shutil.rmtree(folder)
    report = import_art_index(store, registry.root)
    assert report.imported == (VersionId("m", 1),)
    assert f"{folder} is not there on this host; imported as declared" in oddity(report)


def test_folder_without_entry_is_left_out(store: Lineage, registry: Registry, data: Path) -> None:
    registry.publish("m", data)
    for folder in ("m/v2", "lost/v1"):  # the index was written over by another process
        (registry.root / folder).mkdir(parents=True)
    report = import_art_index(store, registry.root)
    assert report.imported == (VersionId("m", 1),)
    assert sorted(report.skipped) == [Skipped("lost", "v1"), Skipped("m", "v2")]
    for sentence in report.oddities:
        assert "is not in the index: a write was cut off, or lost to another one" in sentence
        assert "lineage import dir" in sentence


def test_path_that_names_another_folder_is_told(
    store: Lineage, registry: Registry, data: Path
) -> None:
    folder = registry.publish("m", data)
    registry.entries["m"]["versions"][0]["path"] = str(data)
    registry.save()
    report = import_art_index(store, registry.root)
    assert f"the index says {data}; the copy in {folder} was imported" in oddity(report)


@pytest.mark.parametrize(
    ("alias", "number", "why"),
    [
        ("production", 9, "it points to v9, which is not there"),
        ("production", "1", "points to '1', which is no version"),
        ("v3", 1, "it reads as a version number"),
        ("two words", 1, "an alias is letters, digits"),
    ],
)
def test_alias_that_cannot_be_is_left_out(
    store: Lineage, registry: Registry, data: Path, alias: str, number: object, why: str
) -> None:
    registry.publish("m", data)
    registry.alias("m", alias, number)
    registry.alias("m", "good", 1)
    report = import_art_index(store, registry.root)
    assert report.skipped == (Skipped("m", alias),)
    assert why in oddity(report)
    assert store.resolve("m").aliases == ("good",)


def test_latest_that_is_not_the_highest_is_told(
    store: Lineage, registry: Registry, data: Path
) -> None:
    registry.publish("m", data)
    registry.publish("m", data)
    registry.alias("m", "latest", 1)
    report = import_art_index(store, registry.root)
    assert "latest is 1, the highest version 2; latest is computed" in oddity(report)
    assert report.skipped == ()
    assert store.resolve("m").number == 2


def test_alias_that_was_moved_here_stays(store: Lineage, registry: Registry, data: Path) -> None:
    registry.publish("m", data)
    registry.publish("m", data)
    for alias in ("best", "gone", "same"):
        registry.alias("m", alias, 1)
    import_art_index(store, registry.root)
    store.alias("m:v2", "best")
    store.unalias("m", "gone")
    report = import_art_index(store, registry.root)
    moved, removed = report.oddities
    assert "'best' points to v1 there and points to v2 here; it stays" in moved
    assert "'gone' points to v1 there and was removed here; it stays" in removed
    assert store.resolve("m:best").number == 2
    registry.alias("m", "new", 2)
    import_art_index(store, registry.root)
    assert store.resolve("m:new").number == 2


def test_alias_of_a_version_that_is_gone_here_is_left_out(
    store: Lineage, registry: Registry, data: Path
) -> None:
    registry.publish("m", data)
    import_art_index(store, registry.root)
    store.retire("m:v1", "bad")
    registry.alias("m", "best", 1)
    report = import_art_index(store, registry.root)
    assert report.skipped == (Skipped("m", "best"),)
    assert "art://m:v1 is deleted" in oddity(report)


def test_gap_and_twice_in_the_index_are_told(
    store: Lineage, registry: Registry, data: Path
) -> None:
    for _ in range(3):
        registry.publish("m", data)
    versions = registry.entries["m"]["versions"]
    versions[1] = {**versions[2], "metadata": {"other": True}}
    registry.save()
    report = import_art_index(store, registry.root)
    assert [version.number for version in report.imported] == [1, 3]
    assert store.resolve("m:v3").metadata == {"other": True}, "the first was resolved"
    text = "\n".join(report.oddities)
    assert "m:v3: stands twice in the index" in text
    assert "there is no v2" in text
    assert Skipped("m", "v2") in report.skipped


@pytest.mark.parametrize("name", ["../../x", "two words", "m:v1", "", "a//b"])
def test_name_that_cannot_be_is_told_and_not_bent(
    store: Lineage, registry: Registry, data: Path, name: str
) -> None:
    registry.publish("m", data)
    registry.entries[name] = {**registry.entries["m"], "name": name}
    registry.save()
    report = import_art_index(store, registry.root)
    assert report.imported == (VersionId("m", 1),)
    assert report.skipped == (Skipped(name, "v1"),)
    assert "is no name here" in oddity(report)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ([], "is no entry with versions"),
        ({"name": "n"}, "is no entry with versions"),
        ({"name": "n", "versions": ["v1"]}, "has a version with the number None"),
        ({"name": "n", "versions": [{"version": "1"}]}, "has a version with the number '1'"),
        ({"name": "n", "versions": [{"version": -1}]}, "has a version with the number -1"),
        ({"name": "n", "versions": [{"version": True}]}, "has a version with the number True"),
        ({"name": "n", "versions": [{"version": 1, "metadata": [1]}]}, "metadata that is no JSON"),
        ({"name": "n", "versions": [], "aliases": [1]}, "has aliases [1], which are none"),
        ({"name": "../../n", "versions": ["v1"]}, "says name '../../n'"),
    ],
)
def test_entry_that_makes_no_sense_is_left_out(
    store: Lineage, registry: Registry, data: Path, entry: object, why: str
) -> None:
    registry.publish("m", data)
    registry.entries["n"] = entry
    registry.save()
    report = import_art_index(store, registry.root)
    assert report.imported == (VersionId("m", 1),)
    assert why in "\n".join(report.oddities)
    assert {skipped.name for skipped in report.skipped} == {"n"}


def test_temporary_index_is_told(store: Lineage, registry: Registry, data: Path) -> None:
    registry.publish("m", data)
    (registry.root / ".art_index.tmp").write_text("{")
    assert ".art_index.tmp: is left over" in oddity(import_art_index(store, registry.root))


def test_damaged_or_missing_index_is_one_sentence(store: Lineage, registry: Registry) -> None:
    with pytest.raises(StoreNotFoundError, match=r"there is no \.art_index\.json in"):
        import_art_index(store, registry.root)
    (registry.root / ".art_index.json").write_text('{"m": {"name"')
    with pytest.raises(LineageError, match="is damaged; restore it"):
        import_art_index(store, registry.root)
    (registry.root / ".art_index.tmp").write_text("{}")
    with pytest.raises(LineageError, match=r"art_index\.tmp is what was to replace it"):
        import_art_index(store, registry.root)


def test_root_that_holds_both_layouts_is_imported_by_two_commands(
    store: Lineage, registry: Registry, data: Path
) -> None:
    registry.publish("m", data)
    (data / "manifest.json").write_text('{"train": "a.jsonl"}')  # data of its own, no version
    registry.publish("m", data)
    later = registry.root / "m" / "v3"
    later.mkdir()
    manifest = {
        "name": "m", "version": 3, "type": "artifact", "path": str(data), "created_at": CREATED,
        "producer": "local", "metadata": {}, "inputs": [], "used_artifacts": ["m:v1"],
    }  # fmt: skip
    (later / "manifest.json").write_text(json.dumps(manifest))
    (later / "metadata.json").write_text(json.dumps({"path": str(data), "type": "artifact"}))
    (registry.root / "m" / "latest").write_text("v3")
    report = import_art_index(store, registry.root)
    assert [version.number for version in report.imported] == [1, 2]
    assert "m/v3: is of the manifest layout. Try: lineage import manifest" in oddity(report)
    report = import_manifests(store, registry.root)
    assert report == ImportReport(imported=(VersionId("m", 3),))
    assert [each.target for each in store.inputs("m:v3")] == [VersionId("m", 1)]
