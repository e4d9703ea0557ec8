"""Artifacts are saved with what they were made from, and found again as what they are."""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from nemotron import kit
from nemotron.kit import (
    Artifact,
    ArtifactNotFoundError,
    ArtifactVersionNotFoundError,
    DataBlendsArtifact,
    InputDatasetInfo,
    ModelArtifact,
    PretrainBlendsArtifact,
    SFTDataArtifact,
    SplitJsonlDataArtifact,
)
from nemotron.lineage import ArtifactGone, Lineage, PathNotFoundError, StoreUnsuitable, URIError


class Counted(Artifact):
    """A custom artifact, as short as the documentation shows it."""

    num_samples: Annotated[int, Field(ge=0)]
    source: str | None = None

    def get_input_uris(self) -> list[str]:
        return [self.source] if self.source else []


def test_typed_fields_are_metadata(store: Lineage) -> None:
    artifact = Counted(path=Path("data"), num_samples=3)
    artifact.save(name="counted")
    assert artifact.metadata == {"num_samples": 3}
    assert dict(store.resolve("counted").metadata) == {"num_samples": 3}
    found = Counted.from_uri("art://counted:latest")
    assert (found.num_samples, found.source, found.type) == (3, None, "Counted")
    assert found.path == Path("data").resolve()


@pytest.mark.parametrize("reference", ["", ":v1", ":1", ":latest", ":best", ":validated"])
def test_every_form_of_a_reference_is_found(store: Lineage, reference: str) -> None:
    Counted(path=Path("data"), num_samples=3).save(name="counted")
    store.alias("counted:v1", "best")
    store.alias("counted:v1", "validated")
    assert Counted.from_uri(f"art://counted{reference}").uri == "art://counted:v1"


def test_keywords_that_are_no_fields_are_kept(store: Lineage) -> None:
    model = ModelArtifact(path=Path("out"), step=100, loss=2.5)  # type: ignore[call-arg]  # metadata
    model.save(name="model")
    found = ModelArtifact.from_uri("art://model")
    assert (found.step, found.loss, found.metrics) == (100, 2.5, {"step": 100.0, "loss": 2.5})
    with pytest.raises(AttributeError, match=r"has no 'lost'; it has .*loss"):
        _ = found.lost


def test_changed_fields_are_saved(store: Lineage) -> None:
    model = ModelArtifact(path=Path("out"), step=100)
    model.final_loss = 1.5
    model.metadata["note"] = "warm"
    model.save(name="model")
    assert dict(store.resolve("model").metadata) == {"step": 100, "final_loss": 1.5, "note": "warm"}


def test_name_is_the_given_one_the_semantic_one_or_the_type(store: Lineage) -> None:
    SFTDataArtifact(path=Path("a"), name="nano3/sft/data").save()
    SFTDataArtifact(path=Path("b"), name="nano3/sft/data?sample=100").save()
    SFTDataArtifact(path=Path("c"), name="super3/sft/data").save()
    SFTDataArtifact(path=Path("d")).save()
    SFTDataArtifact(path=Path("e"), name="x").save(name="given")
    assert {artifact.name for artifact in store.artifacts()} == {
        "nano3/sft/data", "nano3/sft/data?sample=100", "super3/sft/data", "SFTDataArtifact",
        "given",
    }  # fmt: skip


def test_art_path_is_the_uri_then_the_name_then_the_path(store: Lineage) -> None:
    artifact = Artifact(path=Path("data"))
    assert artifact.uri is None
    assert artifact.art_path == f"art://{Path('data').resolve()}"
    artifact.name = "data"
    assert artifact.art_path == "art://data"
    artifact.save()
    assert artifact.art_path == artifact.uri == "art://data:v1"


def test_what_was_loaded_is_an_input_of_what_is_saved(store: Lineage) -> None:
    Counted(path=Path("data"), num_samples=3, source="hf://org/raw@main").save(name="data")
    kit.end_run()
    kit.start_run("train")
    Counted.from_uri("art://data:latest")
    ModelArtifact(path=Path("out"), step=1).save(name="model")
    ancestors = [node.uri for node in store.lineage("model").ancestors()]
    assert ancestors == ["hf://org/raw", "art://data:v1"]


def test_load_by_path_is_a_use_of_the_version_that_lies_there(store: Lineage) -> None:
    Counted(path=Path("data"), num_samples=3).save(name="data")
    kit.end_run()
    assert Counted.load(path=Path("data")).uri == "art://data:v1"
    ModelArtifact(path=Path("out"), step=1).save(name="model")
    assert [node.uri for node in store.lineage("model").ancestors()] == ["art://data:v1"]


def test_reading_alone_leaves_no_run(store: Lineage) -> None:
    Counted(path=Path("data"), num_samples=3).save(name="data")
    kit.end_run()
    before = len(store.runs())
    Counted.from_uri("art://data")
    assert len(store.runs()) == before
    assert kit.current_run() is None


def test_a_run_is_seen_from_every_thread(store: Lineage) -> None:
    Counted(path=Path("data"), num_samples=3).save(name="data")
    kit.end_run()
    run = kit.start_run("train")
    seen: list[object] = []
    thread = threading.Thread(
        target=lambda: (Counted.from_uri("art://data"), seen.append(kit.current_run()))
    )
    thread.start()
    thread.join()
    assert seen == [run]
    ModelArtifact(path=Path("out"), step=1).save(name="model")
    assert [node.uri for node in store.lineage("model").ancestors()] == ["art://data:v1"]


def test_second_run_of_a_process_starts_with_no_inputs(store: Lineage) -> None:
    Counted(path=Path("data"), num_samples=3).save(name="data")
    kit.end_run()
    Counted.from_uri("art://data")
    ModelArtifact(path=Path("one"), step=1).save(name="one")
    kit.end_run()
    ModelArtifact(path=Path("two"), step=1).save(name="two")
    assert store.lineage("two").ancestors() == ()


def test_details_of_sources_are_on_the_edges(store: Lineage) -> None:
    blend = PretrainBlendsArtifact(
        path=Path("blend"), total_tokens=10, tokenizer_uri="https://huggingface.co/org/tok",
        source_datasets=[InputDatasetInfo("hf://org/a", weight=0.7, split="train"), "s3://b/raw"],
    )  # fmt: skip
    blend.save(name="blend")
    edges = {
        edge.src.uri: (edge.role, dict(edge.detail)) for edge in store.lineage("blend").inputs()
    }
    assert edges["hf://org/a"] == ("data", {"weight": 0.7, "split": "train"})
    assert edges["s3://b/raw"] == ("data", {})
    assert [role for role, _ in edges.values()].count("tokenizer") == 1
    assert blend.tracking is not None
    assert len(blend.tracking.used_artifacts) == 3


def test_unmeasured_numbers_are_absent() -> None:
    assert PretrainBlendsArtifact(path=Path("x")).metadata == {"source_datasets": []}
    assert DataBlendsArtifact(path=Path("x/blend.json")).total_tokens is None


@pytest.mark.parametrize(
    ("kind", "file"),
    [(DataBlendsArtifact, "blend.json"), (SplitJsonlDataArtifact, "manifest.json")],
)
def test_artifacts_that_are_files(store: Lineage, kind: type[Artifact], file: str) -> None:
    folder = Path("prepared")
    folder.mkdir()
    (folder / file).write_text("{}")
    artifact = kind(path=folder / file)
    artifact.save(name="data")
    assert (folder / "metadata.json").exists()
    assert store.resolve("data").path == (folder / file).resolve()
    assert kind.load(folder).path == folder / file
    assert kind.load(folder / file).path == folder / file
    assert [name for _, name in artifact.get_wandb_files()] == [file, "metadata.json"]


def test_saving_the_same_again_is_the_same_version(store: Lineage) -> None:
    for _ in range(2):
        Counted(path=Path("data"), num_samples=3).save(name="data")
    assert len(store.log("data")) == 1
    Counted(path=Path("data"), num_samples=4).save(name="data")
    assert [str(version.state) for version in store.log("data")] == ["live", "replaced"]


def test_moved_folder_is_loaded_where_it_is(store: Lineage) -> None:
    folder = Path("old")
    folder.mkdir()
    (folder / "blend.json").write_text("{}")
    DataBlendsArtifact(path=folder / "blend.json").save(name="data")
    folder.rename("new")
    assert DataBlendsArtifact.load("new").path == Path("new/blend.json")


def test_pipe_carries_the_path(store: Lineage, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = Counted(path=Path("data"), num_samples=3)
    artifact.save(name="data")
    assert json.loads(str(artifact)) == {"path": "data", "type": "Counted"}
    monkeypatch.setattr("sys.stdin", io.StringIO(str(artifact)))
    assert Counted.load().num_samples == 3


class Recorder:
    """A tracker of somebody else."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, list[str]]] = []

    def is_active(self) -> bool:
        return True

    def use_artifact(self, ref: str, artifact_type: str) -> Path:
        raise AssertionError((ref, artifact_type))

    def log_artifact(self, artifact: Artifact, name: str, used_refs: list[str]) -> dict[str, Any]:
        self.logged.append((name, used_refs))
        return {}

    def get_run_id(self) -> str | None:
        return None


def test_another_tracker_is_told(store: Lineage) -> None:
    tracker = Recorder()
    kit.set_lineage_tracker(tracker)
    Counted(path=Path("data"), num_samples=3, source="hf://org/raw").save(name="data")
    assert tracker.logged == [("data", ["hf://org/raw"])]


def test_without_init_the_default_store_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "default.db"))
    assert not kit.is_initialized()
    Counted(path=Path("data"), num_samples=3).save(name="data")
    assert (tmp_path / "default.db").exists()
    with pytest.raises(RuntimeError, match=r"call nemotron\.kit\.init"):
        kit.get_config()


@pytest.mark.parametrize("root", ["folder", "file.db"])
@pytest.mark.parametrize("backend", ["fsspec", "manifest"])
def test_every_backend_resolves_and_records_alike(backend: str, root: str) -> None:
    kit.init(backend=backend, root=Path(root).resolve())
    assert kit.get_config().backend == backend
    Counted(path=Path("data"), num_samples=3, source="s3://b/raw").save(name="data")
    kit.session.store().alias("data:v1", "best")
    assert Counted.from_uri("art://data:best").uri == "art://data:v1"
    assert [node.uri for node in kit.session.store().lineage("data").ancestors()] == ["s3://b/raw"]


def test_a_forked_child_does_not_end_the_run(store: Lineage) -> None:
    run = kit.start_run("train")
    child = os.fork()
    if child == 0:
        kit.end_run()
        os._exit(0)
    os.waitpid(child, 0)
    assert str(store.run_info(run.id).status) == "running"


# ------------------------------------------------------------------ bad input


def test_unknown_names_and_versions_are_named(store: Lineage) -> None:
    Counted(path=Path("data"), num_samples=3).save(name="data")
    with pytest.raises(ArtifactNotFoundError, match=r"no artifact .date.*did you mean data"):
        Counted.from_uri("art://date")
    with pytest.raises(ArtifactVersionNotFoundError, match=r"v7 does not exist; newest is v1"):
        Counted.from_uri("art://data:v7")


def test_deleted_version_says_so(store: Lineage) -> None:
    Counted(path=Path("data"), num_samples=3).save(name="data")
    store.retire("data:v1", "too old")
    with pytest.raises(ArtifactGone, match="too old"):
        Counted.from_uri("art://data:v1")


def test_another_kind_of_artifact_is_refused(store: Lineage) -> None:
    Counted(path=Path("data"), num_samples=3).save(name="data")
    for load in (lambda: ModelArtifact.from_uri("data"), lambda: ModelArtifact.load("data")):
        with pytest.raises(ValueError, match="is no ModelArtifact: step: Field required"):
            load()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"type": "x"}'])
def test_damaged_description_is_named(store: Lineage, text: str) -> None:
    Path("data").mkdir()
    Path("data/metadata.json").write_text(text)
    with pytest.raises(ValueError, match=r"data/metadata\.json (is damaged|describes no artifact)"):
        Artifact.load("data")


def test_description_of_another_artifact_is_refused(store: Lineage) -> None:
    class Elsewhere(Artifact):
        def _get_output_dir(self) -> Path:
            return Path("elsewhere")

    Path("data").mkdir()
    Path("data/metadata.json").write_text('{"path": "/other/place"}')
    with pytest.raises(ValueError, match="which is another artifact"):
        Elsewhere.load("data")


def test_missing_description_is_named(store: Lineage) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/metadata\.json is not there"):
        Artifact.load("nowhere")


def test_missing_file_leaves_nothing_behind(store: Lineage) -> None:
    Path("data").mkdir()
    with pytest.raises(PathNotFoundError):
        DataBlendsArtifact(path=Path("data/blend.json")).save(name="data")
    assert list(Path("data").iterdir()) == []


@pytest.mark.parametrize("name", ["../../x", "a/../b", "", "model:v3"])
def test_bad_name_leaves_no_version(store: Lineage, name: str) -> None:
    with pytest.raises((URIError, ValueError)):
        Counted(path=Path("data"), num_samples=3, name=name or "../x").save()
    assert store.artifacts() == []


@pytest.mark.parametrize("text", ["", "no json", "{}", "[1]"])
def test_empty_pipe_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    with pytest.raises(ValueError, match="stdin holds no"):
        Artifact.load()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "ftp"}, "'ftp' is no backend; the known ones are fsspec"),
        ({"backend": "fsspec"}, "needs root"),
        ({"backend": "wandb"}, "needs wandb_project"),
    ],
)
def test_init_says_what_it_needs(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kit.init(**arguments)
    assert not kit.is_initialized()


def test_root_that_is_no_store_is_refused() -> None:
    kit.init(root="ftp://host/artifacts")
    with pytest.raises(StoreUnsuitable, match="ftp:// is no kind of store"):
        Counted(path=Path("data"), num_samples=3).save(name="data")
    assert not Path("ftp:").exists()


def test_root_of_an_earlier_layout_is_refused() -> None:
    Path("old").mkdir()
    Path("old/.art_index.json").write_text("{}")
    with pytest.raises(kit.session.LineageError, match="lineage import registry old"):
        kit.init(root="old")
