"""Errors are values that travel: between processes, into logs, to whoever decides what is next."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import errors

ERRORS = [
    errors.URIError("a b", 1, "charset", "only visible ASCII characters are allowed"),
    errors.ArtifactNotFoundError("sfft", near=("sft",)),
    errors.ArtifactVersionNotFoundError("sft", 9, near=("v1",)),
    errors.ArtifactGone("art://a:v1", "deleted", when="2026-01-02T03:04:05.000000Z", by="me",
                        reason="room", nearest=("art://a:v2",)),
    errors.PathNotFoundError("/a"),
    errors.ContentChanged("/a", "other bytes"),
    errors.MetadataError("loss", "is NaN"),
    errors.StoreBusy("later", record="abc-1"),
    errors.StoreDamaged("commit 3", commit=3),
    errors.StoreFull("no space"),
    errors.Conflict("moved"),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_error_goes_to_another_process_as_it_is(error: errors.LineageError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def _resolve(store: str, reference: str) -> object:
    with lineage.open(store) as opened:
        return opened.resolve(reference).uri


def test_a_pool_hands_on_what_its_worker_ran_into(tmp_path: Path) -> None:
    store = str(tmp_path / "lineage.db")
    with lineage.open(store) as opened, opened.run("x") as run:
        run.publish("model", path="s3://bucket/1", type="model")
        opened.retire("model", "room")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        with pytest.raises(lineage.ArtifactGone, match=r"was deleted on .* \(room\)"):
            pool.submit(_resolve, store, "model").result()
        with pytest.raises(lineage.ArtifactNotFoundError, match=r"^there is no artifact 'nope'"):
            pool.submit(_resolve, store, "nope").result()


def test_gone_says_when_as_a_time() -> None:
    with lineage.open("memory:") as store, store.run("x") as run:
        run.publish("model", path="s3://bucket/1", type="model")
        store.retire("model", "room")
        with pytest.raises(lineage.ArtifactGone) as caught:
            store.resolve("model")
        when = datetime.fromisoformat(caught.value.when)
        assert when == store.facts("model")[-1].recorded
        assert when.astimezone(UTC).strftime("on %Y-%m-%d %H:%M:%S UTC by") in str(caught.value)
