"""A container's records name paths as all hosts know them, and its readers find them again."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemotron import kit
from nemotron.kit import containers, session
from nemotron.kit.patches.hooks import Hooks
from nemotron.kit.patches.naming import artifact_name
from nemotron.kit.resolvers import register_resolvers


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the mounts show as /scratch/me/run7 of a parallel filesystem."""
    point = tmp_path / "nemo_run"
    point.mkdir()
    text = (
        "901 846 0:44 / / rw - overlay overlay rw\n"
        "905 901 0:50 / /scratch rw - lustre 10.1.0.5@o2ib:/scratch rw\n"
        f"906 901 0:50 /me/run7 {point} rw - lustre 10.1.0.5@o2ib:/scratch rw\n"
    )
    monkeypatch.setattr(containers, "_mountinfo", lambda: text)
    return point


def test_path_below_a_mount_has_another_name_outside(mount: Path) -> None:
    assert containers.outside(str(mount / "ckpt")) == "/scratch/me/run7/ckpt"
    assert containers.outside(f"{mount}2/ckpt") == f"{mount}2/ckpt"  # whole segments
    assert containers.outside("/scratch/x") == "/scratch/x"


def test_link_that_leads_below_a_mount_is_followed(mount: Path, tmp_path: Path) -> None:
    (mount / "ckpt").mkdir()
    (tmp_path / "link").symlink_to(mount / "ckpt")
    assert containers.outside(str(tmp_path / "link" / "iter_1")) == "/scratch/me/run7/ckpt/iter_1"


def test_folders_of_two_jobs_that_are_called_alike_inside_share_no_name(
    mount: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = str(mount / "checkpoints"), str(tmp_path / "lineage.db")
    first = artifact_name(folder, experiment="sft", store=store)
    assert first == artifact_name(folder, experiment="sft", store=store) == "sft-checkpoints"
    other = containers._mountinfo().replace("/me/run7", "/me/run8")
    monkeypatch.setattr(containers, "_mountinfo", lambda: other)
    assert artifact_name(folder, experiment="sft", store=store) != first


def test_way_back_leads_to_what_is_there(mount: Path) -> None:
    (mount / "ckpt").mkdir()
    assert containers.inside("/scratch/me/run7/ckpt") == str(mount / "ckpt")
    assert containers.inside("/scratch/me/run7/gone") == "/scratch/me/run7/gone"
    assert containers.inside("s3://bucket/key") == "s3://bucket/key"


def test_outside_of_containers_nothing_is_said(tmp_path: Path) -> None:
    assert containers.outside(str(tmp_path)) == str(tmp_path)
    assert containers.outside("s3://bucket/run") == "s3://bucket/run"
    assert containers.remark(str(tmp_path)) == {}


def test_record_says_what_a_path_rests_on(mount: Path, tmp_path: Path) -> None:
    told = containers.remark(str(mount / "ckpt"))
    assert told["path_in_container"] == str(mount / "ckpt")
    assert told["path_known_by"] == "mountinfo"
    unknown = containers.remark(str(tmp_path / "layer"))
    assert unknown["path_known_by"] == "unknown"
    assert "ends with it" in unknown["path_note"]


def test_hooks_and_runs_record_one_name(mount: Path, tmp_path: Path) -> None:
    folder = mount / "ckpt" / "iter_0000001"
    folder.mkdir(parents=True)
    (folder / "state").write_text("1")
    kit.init(root=tmp_path / "lineage.db")
    hooks = Hooks("train", run="r1", store=str(tmp_path / "lineage.db"))
    hooks.write(str(mount / "ckpt"), lambda each: each.record("m", path=folder, type="model"))
    hooks.close()
    with session.store().run("sft") as run:
        used = run.use(folder)
        assert str(used.uri) == "art://m:v1"
        run.publish("tokens", path=mount / "ckpt", type="dataset", digest="now")
    store = session.store()
    assert store.resolve("m").address == "/scratch/me/run7/ckpt/iter_0000001"
    assert store.resolve("tokens").address == "/scratch/me/run7/ckpt"
    assert store.resolve("tokens").fingerprint is not None


def test_references_lead_to_the_path_of_this_container(mount: Path, tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    (mount / "tokens").mkdir()
    kit.init(root=tmp_path / "lineage.db")
    with session.store().run("prep") as run:
        run.publish("tokens", path=mount / "tokens", type="dataset")
    register_resolvers({"data": "tokens"})
    assert OmegaConf.create({"path": "${art:data,path}"}).path == str(mount / "tokens")
