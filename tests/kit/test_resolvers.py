"""References in OmegaConf and Hydra configurations."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from nemotron import kit
from nemotron.kit import (
    Artifact,
    ModelArtifact,
    SFTDataArtifact,
    register_resolvers,
    register_resolvers_from_config,
)
from nemotron.lineage import ArtifactGone, ArtifactNotFoundError, Lineage

OMEGACONF = tuple(int(part) for part in version("omegaconf").split(".")[:2])


@pytest.fixture(autouse=True)
def saved(store: Lineage) -> None:
    """Data and a checkpoint, as an earlier job left them."""
    data = SFTDataArtifact(path=Path("data"), pack_size=4096, training_path="/d/train.npy")
    data.metadata |= {"splits": {"train": 0.9}, "shards": [1, 2], "path": "/declared"}
    data.save(name="sft-data")
    ModelArtifact(path=Path("ckpt/iter_0000100"), step=100).save(name="model")
    kit.end_run()


def _config(text: str) -> DictConfig:
    config = OmegaConf.create(text)
    assert isinstance(config, DictConfig)
    return config


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("${art:data}", "<here>/data"),
        ("${art:data,path}/blend.json", "<here>/data/blend.json"),
        ("${art:data,metadata.path}", "/declared"),
        ("${art:data,pack_size}", 4096),
        ("${art:data,metadata.pack_size}", 4096),
        ("${art:data,training_path}", "/d/train.npy"),
        ("${art:data,version}", "v1"),
        ("${art:data,name}", "sft-data"),
        ("${art:data,type}", "dataset"),
        ("${art:data,qualified_name}", "art://sft-data:v1"),
        ("${art:data,shards}", [1, 2]),
        ("${art:data,splits}", {"train": 0.9}),
        ("${art:model,path}", "<here>/ckpt"),
        ("${art:model,iteration}", 100),
        ("${art:model,folder}", "<here>/ckpt/iter_0000100"),
        ("${art:${run.data},version}", "v1"),
        ("${art:${which},version}", "v1"),
        ("${art:sft-data:latest,version}", "v1"),
        ("${art:art://model:v1,type}", "model"),
    ],
)
def test_field_is_found_with_its_type(tmp_path: Path, asked: str, answer: Any) -> None:
    config = _config("{run: {data: 'sft-data:latest', model: 'model:v1'}, which: data}")
    config.asked = asked
    register_resolvers_from_config(config)
    if isinstance(answer, str):
        answer = answer.replace("<here>", str(tmp_path))
    found = config.asked
    assert found == answer
    assert type(found) is type(answer) or OmegaConf.is_config(found)


def test_values_inside_an_answer_can_be_interpolated() -> None:
    config = _config("{run: {data: sft-data}, splits: '${art:data,splits}', n: '${splits.train}'}")
    register_resolvers_from_config(config)
    assert config.n == 0.9


def test_only_what_is_meant_as_a_reference_is_resolved() -> None:
    config = _config(
        "{run: {data: 'sft-data:latest', cache: 'redis:vault', image: 'nvcr.io/nemo:25.11',"
        " plain: my-model, model: 'art://model', env: {container: 'a:b'}, none: null, n: 5},"
        " path: '${art:data,path}'}"
    )
    assert register_resolvers_from_config(config) == ["art://sft-data:v1", "art://model:v1"]


@pytest.mark.parametrize("text", ["{run: null}", "{}", "{run: text}", "{run: [1]}"])
def test_configuration_without_references(text: str) -> None:
    assert register_resolvers_from_config(_config(text)) == []


def test_two_keys_may_mean_one_artifact() -> None:
    config = _config("{run: {a: 'art://model', b: 'art://model:v1'}}")
    assert register_resolvers_from_config(config) == ["art://model:v1"]
    assert OmegaConf.create({"x": "${art:b,version}"}).x == "v1"


def test_configuration_can_be_a_file_and_the_section_another(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("inputs: {refs: {data: 'sft-data:v1'}}\npath: ${art:data,path}\n")
    assert register_resolvers_from_config(path, "inputs.refs") == ["art://sft-data:v1"]


def test_references_become_inputs_of_the_run(store: Lineage) -> None:
    register_resolvers({"data": "sft-data", "model": "model"})
    ModelArtifact(path=Path("out"), step=1).save(name="tuned")
    edges = {edge.src.uri: edge.role for edge in store.lineage("tuned").inputs()}
    assert edges == {"art://sft-data:v1": "data", "art://model:v1": "init"}


def test_another_rank_records_no_use(store: Lineage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    register_resolvers({"data": "sft-data"})
    with kit.start_run("train"):
        pass
    assert store.lineage("sft-data").descendants() == ()
    assert not [edge for edge in store.lineage().edges() if edge.role == "data"]


def test_documented_modes_are_accepted() -> None:
    for mode in ("active_run", "pre_init", "local"):
        names = register_resolvers({"data": "sft-data"}, mode=mode, pre_init_patch_http_digest=True)
        assert names == ["art://sft-data:v1"]
    with pytest.raises(ValueError, match="'online' is no mode"):
        register_resolvers({}, mode="online")  # type: ignore[arg-type]


def test_cleared_cache_asks_again(store: Lineage) -> None:
    register_resolvers({"model": "model"})
    kit.clear_artifact_cache()
    ModelArtifact(path=Path("ckpt/iter_0000200"), step=200).save(name="model")
    assert register_resolvers({"model": "model"}) == ["art://model:v2"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("${art:nope,path}", "there is no 'nope'; the known keys are: data"),
        ("${art:5,path}", "there is no '5'; the known keys are: data"),
        ("${art:null,path}", "needs a key"),
        ("${art:data,zip}", "art://sft-data:v1 has no 'zip'; it has path, version"),
        ("${art:data,metadata.zip}", "has no 'zip'; it has pack_size"),
        ("${art:'data?f=1',path}", "there is no 'data[?]f=1'"),
        ("${art:gone:v1,path}", "no artifact 'gone'"),
    ],
)
def test_what_is_not_there_is_named(asked: str, message: str) -> None:
    register_resolvers({"data": "sft-data"})
    config = OmegaConf.create({"asked": asked})
    with pytest.raises(InterpolationResolutionError, match=message):
        _ = config.asked


def test_nothing_registered_says_what_to_call() -> None:
    register_resolvers()
    with pytest.raises(InterpolationResolutionError, match="call register_resolvers_from_config"):
        _ = OmegaConf.create({"x": "${art:data}"}).x


def test_unknown_and_deleted_references_stop_the_start(store: Lineage) -> None:
    with pytest.raises(ArtifactNotFoundError, match="no artifact 'nope'"):
        register_resolvers({"data": "nope:latest"})
    store.retire("model:v1", "old")
    with pytest.raises(ArtifactGone, match="old"):
        register_resolvers_from_config(_config("{run: {m: 'art://model:v1'}}"))


@pytest.mark.parametrize("value", ["5", "[a, b]", "{x: 1}"])
def test_reference_that_is_no_text_is_named(value: str) -> None:
    config = _config(f"{{run: {{data: {value}}}, path: '${{art:data}}'}}")
    with pytest.raises(TypeError, match=r"data: .* is no reference"):
        register_resolvers_from_config(config)


def test_modern_and_legacy_functions_of_omegaconf(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def modern(name: str, resolver: Callable[..., Any], *, replace: bool = False) -> None:
        called.append("modern")
        OmegaConf.register_new_resolver(name, resolver, replace=replace)

    def legacy(name: str, resolver: Callable[..., Any]) -> None:
        raise AssertionError

    if OMEGACONF >= (2, 4):
        assert "replace" in inspect.signature(OmegaConf.register_resolver).parameters
        register_resolvers({"data": "sft-data"})
    else:
        monkeypatch.setattr(OmegaConf, "register_resolver", staticmethod(legacy))
        register_resolvers({"data": "sft-data"})
        monkeypatch.setattr(OmegaConf, "register_resolver", staticmethod(modern))
        register_resolvers({"data": "sft-data"})
        assert called == ["modern"]
    assert OmegaConf.create({"x": "${art:data,version}"}).x == "v1"


def test_two_function_form(store: Lineage, tmp_path: Path) -> None:
    config = _config(
        f"{{artifacts: {{store: '{tmp_path}/lineage.db', wandb: false}},"
        " run: {data: 'sft-data:latest'}, path: '${art:data,path}'}"
    )
    tracking = kit.setup_artifact_tracking(config)
    assert (tracking.manifest, tracking.wandb) == (False, False)
    assert tracking.qualified_names == ["art://sft-data:v1"]
    kit.log_artifact(Artifact(path=Path("made")), tracking, name="made")
    ancestors = kit.session.store().lineage("made").ancestors()
    assert [node.uri for node in ancestors] == ["art://sft-data:v1"]


def test_artifacts_section_that_is_no_mapping_is_named() -> None:
    with pytest.raises(TypeError, match="is no mapping"):
        kit.setup_artifact_tracking(_config("{artifacts: [1]}"))


def test_hydra_composes(tmp_path: Path) -> None:
    hydra = pytest.importorskip("hydra", reason="make test-hydra runs this")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(
        "run: {data: 'sft-data:latest'}\nrecipe: {path: '${art:data,path}'}\n"
    )
    with hydra.initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        config = hydra.compose("config", overrides=["run.data=sft-data:v1"])
    register_resolvers_from_config(config)
    assert config.recipe.path == str(tmp_path / "data")


def test_manifest_layout_is_kept_up_for_other_tools(tmp_path: Path) -> None:
    config = _config(
        f"{{artifacts: {{store: '{tmp_path}/lineage.db', manifest: {{root: '{tmp_path}/art'}}}}}}"
    )
    tracking = kit.setup_artifact_tracking(config)
    assert tracking.manifest
    kit.log_artifact(Artifact(path=Path("made"), rows=3), tracking, name="made")
    manifest = json.loads((tmp_path / "art" / "made" / "v1" / "manifest.json").read_text())
    assert (manifest["path"], manifest["metadata"]) == (str(tmp_path / "made"), {"rows": 3})
    assert (tmp_path / "art" / "made" / "latest").read_text() == "v1"
