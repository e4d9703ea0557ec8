"""What checkpoint hooks record without a store is found by the next reader."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import FAR

from nemotron import lineage
from nemotron.lineage import (
    PublishRefused,
    Recorder,
    SourceURI,
    State,
    StoreFull,
    StoreUnsuitable,
    claim_name,
    digests,
)
from nemotron.lineage.files import Files
from nemotron.lineage.recovery import recover


def _checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"iter_{step:07d}"
    path.mkdir(parents=True)
    (path / "train_state.json").write_text(f'{{"step": {step}}}')
    return path


@pytest.fixture(params=["lineage.db", "lineage"], ids=["sqlite", "directory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / request.param)


def test_records_of_a_run_that_opened_no_store_are_found(address: str, tmp_path: Path) -> None:
    save = tmp_path / "ckpts" / "nano3"
    recorder = Recorder("train", run="r1", beside=save, store=address)
    recorder.record_use(SourceURI.parse("hf://org/raw@main"), "data", weight=0.5)
    recorder.record("nano3", path=_checkpoint(save, 100), type="model", aliases=["step_100"])
    recorder.close()
    assert not os.path.exists(address + "/commits")  # no store was made
    with lineage.open(address) as store:
        version = store.resolve("nano3:step_100")
        assert version.path == save / "iter_0000100"
        assert [str(each.target) for each in store.inputs(version)] == ["hf://org/raw"]
        (run,) = store.runs()
        assert (run.id, run.name) == ("r1", "train")


def test_ranks_on_other_hosts_join_the_run_that_rank_0_opened(address: str, tmp_path: Path) -> None:
    save = tmp_path / "ckpts"
    with lineage.open(address) as store:
        run = store.run("train", id="r1", config={"lr": 1})
        last = Recorder("train", run="r1", beside=save, store=address)
        first = Recorder("train", run="r1", beside=save, store=address)
        path = _checkpoint(save, 100)
        last.record("model", path=path, type="model")
        (path / "train_state.json").unlink()
        path.rmdir()
        first.record_deleted(path, "most_recent_k")
        run.end()
        version = store.version("model:v1")
        assert version.state is State.DELETED
        (info,) = store.runs()
        assert (info.config, info.status) == ({"lr": 1}, "ok")


def test_a_rank_that_ends_after_the_first_one_is_still_heard(address: str, tmp_path: Path) -> None:
    save = tmp_path / "ckpts"
    with lineage.open(address) as store:
        run = store.run("train", id="r1")
        last = Recorder("train", run="r1", beside=save, store=address)
        last.record("model", path=_checkpoint(save, 100), type="model")
        assert len(store.log("model")) == 1
        run.end()
        last.record("model", path=_checkpoint(save, 200), type="model")
        assert len(store.log("model")) == 2


def test_a_run_may_record_in_several_folders(address: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        recorder = Recorder("train", run="r1", beside=tmp_path / name, store=address)
        recorder.record("model", path=_checkpoint(tmp_path / name, 1), type="model")
    with lineage.open(address) as store:
        assert len(store.log("model")) == 2
        assert len(store.runs()) == 1


def test_a_use_of_a_path_inside_a_published_folder_is_a_use_of_that_version(
    address: str, tmp_path: Path
) -> None:
    tokens, save = tmp_path / "tokens", tmp_path / "ckpts"
    tokens.mkdir()
    with lineage.open(address) as store:
        store.run("prep").publish("tokens", path=tokens, type="dataset")
        recorder = Recorder("train", run="r1", beside=save, store=address)
        recorder.record_use(tokens / "part" / "shard_text_document", "data")
        recorder.record_use(tmp_path / "tokens2" / "x", "data")
        recorder.record("model", path=_checkpoint(save, 1), type="model")
        found = {str(each.target) for each in store.inputs("model")}
        assert found == {"art://tokens:v1", f"file://{tmp_path}/tokens2/x"}


def test_a_folder_that_takes_no_records_is_told_of_in_the_stores_own(
    address: str, tmp_path: Path
) -> None:
    save = tmp_path / "ckpts"
    path = _checkpoint(save, 1)
    (save / ".lineage").write_text("a file is in the way")
    recorder = Recorder("train", run="r1", beside=save, store=address)
    recorder.record("model", path=path, type="model")
    with lineage.open(address) as store:
        assert len(store.log("model")) == 1


def test_record_is_beside_the_checkpoints_before_the_stores_disk_answers(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers, real = threading.Event(), threading.Event(), Files.open_append

    def hang(files: Files, path: str) -> int:
        if path.startswith(address):
            asked.set()
            answers.wait(60)
        return real(files, path)

    monkeypatch.setattr(Files, "open_append", hang)
    save = tmp_path / "ckpts"
    recorder = Recorder("train", run="r1", beside=save, store=address)
    facts = {"path": _checkpoint(save, 1), "type": "model"}
    thread = threading.Thread(target=recorder.record, args=("m",), kwargs=facts)
    thread.start()
    assert asked.wait(60)
    with lineage.open(tmp_path / "other.db") as other:
        assert recover(other, [str(save)]).taken == 2  # as after a kill: the start, and the record
    answers.set()
    thread.join()
    with lineage.open(address) as store:
        assert len(store.log("m")) == 1


def test_store_is_told_of_a_folder_as_soon_as_it_can_be(
    address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save = tmp_path / "ckpts"
    own = Path(address + ".d" if address.endswith(".db") else address) / "intake"
    own.parent.mkdir()
    own.write_text("in the way")
    recorder = Recorder("train", run="r1", beside=save, store=address)
    for step in (1, 2):
        recorder.record("m", path=_checkpoint(save, step), type="model")
    assert caplog.text.count("bring them in with: lineage recover") == 1
    own.unlink()
    recorder.record("m", path=_checkpoint(save, 3), type="model")
    with lineage.open(address) as store:
        assert len(store.log("m")) == 3


def test_what_nobody_takes_is_kept_until_somebody_does(address: str, tmp_path: Path) -> None:
    save = tmp_path / "ckpts"
    path = _checkpoint(save, 1)
    recorder = Recorder("train", run="r1", beside=save, store=address)
    own = Path(address + ".d" if address.endswith(".db") else address)
    obstacles = [save / ".lineage", own]
    for each in obstacles:
        each.write_text("in the way")
    with pytest.raises(StoreUnsuitable, match="would lie below a file"):
        recorder.record("model", path=path, type="model")
    assert recorder.waiting == 1
    for each in obstacles:
        each.unlink()
    recorder.flush()
    assert recorder.waiting == 0
    with lineage.open(address) as store:
        assert len(store.log("model")) == 1


def test_a_forked_child_writes_files_of_its_own(address: str, tmp_path: Path) -> None:
    save = tmp_path / "ckpts"
    recorder = Recorder("train", run="r1", beside=save, store=address)
    recorder.record("model", path=_checkpoint(save, 1), type="model")
    child = os.fork()
    if not child:
        recorder.record("model", path=_checkpoint(save, 2), type="model")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    recorder.record("model", path=_checkpoint(save, 3), type="model")
    assert len(list((save / ".lineage").iterdir())) == 2
    with lineage.open(address) as store:
        assert len(store.log("model")) == 3


def test_name_is_theirs_who_claimed_it_even_when_the_disk_is_full(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert lineage.claim_name("m-checkpoints", "/a", store=address) == "/a"
    monkeypatch.setattr(Files, "_put_temporary", full)
    assert lineage.claim_name("m-checkpoints", "/a", store=address) == "/a"
    assert lineage.claim_name("m-checkpoints", "/b", store=address) == "/a"
    with pytest.raises(StoreFull):
        lineage.claim_name("other", "/b", store=address)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ENOENT])
def test_checkpoint_with_a_file_that_cannot_be_read_is_recorded(
    address: str, tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fail(path: str, _: int) -> bytes:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(digests, "_read", fail)
    save = tmp_path / "ckpts"
    path = _checkpoint(save, 1)
    Recorder("train", run="r1", beside=save, store=address).record("m", path=path, type="model")
    with lineage.open(address) as store:
        assert store.resolve("m").fingerprint is None
        with store.run("by hand") as run, pytest.raises(OSError, match=re.escape(str(path))):
            run.publish("n", path=path, type="model")
        assert [each.name for each in store.artifacts()] == ["m"]
    assert f"{path} is recorded without a fingerprint" in caplog.text


def test_record_with_a_key_that_was_used_is_about_that_version_again(
    address: str, tmp_path: Path
) -> None:
    save = tmp_path / "ckpts"
    path = _checkpoint(save, 1)
    recorder = Recorder("train", run="r1", beside=save, store=address)
    recorder.record("m", path=path, type="model", metadata={"step": 1}, idempotency_key="k")
    (path / "scores.json").write_text("{}")
    recorder.record("m", path=path, type="model", aliases=["best"], idempotency_key="k")
    with lineage.open(address) as store:
        (version,) = store.log("m")
        assert (version.number, version.metadata, version.aliases) == (1, {"step": 1}, ("best",))


def test_path_that_is_no_text_is_refused_before_anything_is_written(
    address: str, tmp_path: Path
) -> None:
    save = tmp_path / "ckpts"
    recorder = Recorder("train", run="r1", beside=save, store=address)
    strange = os.fsdecode(os.fsencode(save) + b"/\xff")
    with pytest.raises(PublishRefused, match="is no UTF-8, and no record can hold it; rename it"):
        recorder.record("m", path=strange, type="model", external=True)
    assert not save.exists()


def test_record_that_is_no_text_stops_nobody(address: str, tmp_path: Path) -> None:
    save = tmp_path / "ckpts"
    recorder = Recorder("train \udcff", run="r1", beside=save, store=address)
    recorder.record("m", path=_checkpoint(save, 1), type="model", metadata={"note": "\udcff"})
    with lineage.open(address) as store:
        assert store.resolve("m").metadata["note"] == "?"
        assert [run.name for run in store.runs()] == ["train ?"]


def test_fault_is_told_and_the_records_behind_it_are_kept(address: str, tmp_path: Path) -> None:
    faults: list[Exception] = []
    save = tmp_path / "ckpts"
    recorder = Recorder("train", run="r1", beside=save, store=address, on_fault=faults.append)
    (tmp_path / f"{address}.d").write_text("in the way")
    (tmp_path / address).mkdir(exist_ok=True)
    (Path(address) / "intake").write_text("in the way")
    save.mkdir()
    (save / ".lineage").write_text("in the way")
    assert recorder.record("m", path=_checkpoint(save, 1), type="model") == ""
    assert (len(faults), recorder.waiting) == (1, 1)
    (save / ".lineage").unlink()
    assert recorder.record("m", path=_checkpoint(save, 2), type="model") != ""
    assert recorder.waiting == 0


@pytest.mark.parametrize("kind", FAR)
@pytest.mark.parametrize("place", ["beside", "waiting"])
def test_records_for_a_store_that_is_far_away_end_in_it(
    kind: str, place: str, address_of: Callable[[str, str], str], tmp_path: Path
) -> None:
    address = address_of(kind, "lineage")
    save = tmp_path / "ckpts"
    recorder = Recorder(
        "train", run="r1", beside=save if place == "beside" else None, store=address
    )
    recorder.record_use(SourceURI.parse("hf://org/raw@main"), "data")
    recorder.record("model", path=_checkpoint(save, 100), type="model")
    recorder.close()
    with lineage.open(address) as store:  # made here: a hook waits for no network
        version = store.resolve("model")
        assert version.path == save / "iter_0000100"
        assert [str(each.target) for each in store.inputs(version)] == ["hf://org/raw"]
        assert [(run.id, run.name) for run in store.runs()] == [("r1", "train")]
        assert store.pending() == 0


def test_recorder_asks_no_server_that_does_not_answer(tmp_path: Path) -> None:
    save = tmp_path / "ckpts"
    nobody = f"postgresql:///lineage?host={tmp_path}/nobody"
    recorder = Recorder("train", run="r1", beside=save, store=nobody)
    recorder.record("model", path=_checkpoint(save, 100), type="model")
    recorder.close()
    with lineage.open(tmp_path / "lineage") as store:
        assert recover(store, [str(save)]).taken == 2


@pytest.mark.parametrize("address", ["s3://bucket/lineage", "postgresql:///lineage"])
def test_nobody_can_say_whose_a_name_is_for_a_store_that_is_far_away(address: str) -> None:
    assert claim_name("model", "/a/checkpoints", store=address) is None
