"""All ranks and attempts of one job agree on what its references mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nemotron.lineage import (
    ArtifactNotFoundError,
    Lineage,
    PinsFailed,
    StoreError,
    StoreNotFoundError,
    pin_job,
)
from nemotron.lineage import open as open_store
from nemotron.lineage.launch import Process

JOB = {"SLURM_JOB_ID": "12", "SLURM_CLUSTER_NAME": "one"}
RANKS = {**JOB, "SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}


@pytest.fixture(params=["lineage.db", "lineage"], ids=["sqlite", "directory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store with one version of a model."""
    address = str(tmp_path / request.param)
    with open_store(address) as store:
        _publish(store, 1)
    return address


def _publish(store: Lineage, step: int) -> None:
    with store.run("train") as run:
        run.publish("model", path=f"s3://b/{step}", type="model", metadata={"step": step})


def _pin(address: str, environ: Mapping[str, str], *references: str, **more: Any) -> list[str]:
    asked = references or ("model:latest",)
    return [pin.uri for pin in pin_job(asked, store=address, environ=environ, **more).values()]


def test_later_ranks_and_attempts_get_the_same(address: str) -> None:
    assert _pin(address, JOB) == ["art://model:v1"]
    with open_store(address) as store:
        _publish(store, 2)
    assert _pin(address, {**RANKS, "SLURM_PROCID": "3"}) == ["art://model:v1"]
    assert _pin(address, {**JOB, "SLURM_RESTART_COUNT": "1"}) == ["art://model:v1"]
    assert _pin(address, {**JOB, "SLURM_JOB_ID": "13"}) == ["art://model:v2"]
    assert _pin(address, {}) == ["art://model:v2"]


def test_others_never_open_the_journal(address: str) -> None:
    _pin(address, JOB)

    def opener() -> Lineage:
        raise AssertionError

    assert _pin(address, JOB, opener=opener) == ["art://model:v1"]


def test_a_pin_tells_all_that_a_configuration_may_ask(address: str) -> None:
    (pin,) = pin_job(["model"], store=address, environ=JOB).values()
    again = pin_job(["model"], store=address, environ=JOB)["model"]
    assert pin == again
    assert (pin.address, pin.type, pin.version, pin.metadata) == (
        "s3://b/1",
        "model",
        "v1",
        {"step": 1},
    )


def test_further_references_get_a_further_page(address: str) -> None:
    _pin(address, JOB)
    with open_store(address) as store:
        _publish(store, 2)
    assert _pin(address, JOB, "model:latest", "model:v2") == ["art://model:v1", "art://model:v2"]
    assert _pin(address, JOB, "model:v2") == ["art://model:v2"]


def test_pins_survive_the_page(address: str, tmp_path: Path) -> None:
    _pin(address, JOB)
    with open_store(address) as store:
        _publish(store, 2)
    for page in tmp_path.rglob("pins/*"):
        page.unlink()
    assert _pin(address, JOB) == ["art://model:v1"]


def test_failure_is_told_to_the_other_ranks_of_the_attempt(address: str) -> None:
    with pytest.raises(ArtifactNotFoundError):
        _pin(address, RANKS, "nope")
    with pytest.raises(PinsFailed, match=r"no artifact 'nope'.*another rank of job slurm:12"):
        _pin(address, {**RANKS, "SLURM_PROCID": "1"}, "nope")
    with open_store(address) as store, store.run("late") as run:
        run.publish("nope", path="s3://b/x", type="model")
    assert _pin(address, {**RANKS, "SLURM_RESTART_COUNT": "1"}, "nope") == ["art://nope:v1"]


def test_claim_of_a_dead_rank_is_overtaken(address: str, tmp_path: Path) -> None:
    _pin(address, JOB)
    (page,) = tmp_path.rglob("pins/*.json")
    me = Process.current()
    dead = {"host": me.host, "pid": 1 << 22, "boot": me.boot, "started": "1"}
    page.unlink()
    Path(f"{page}.claim").write_text(json.dumps(dead))
    assert _pin(address, RANKS) == ["art://model:v1"]
    assert not Path(f"{page}.claim").exists()


def test_waiting_ends(address: str, tmp_path: Path) -> None:
    _pin(address, JOB)
    (page,) = tmp_path.rglob("pins/*.json")
    page.unlink()
    Path(f"{page}.claim").write_text('{"host":"other","pid":1,"boot":null,"started":null}')
    with pytest.raises(StoreError, match=r"no rank resolved .* in 0\.1 s .*claim says who tries"):
        _pin(address, RANKS, timeout=0.1)


def test_two_jobs_with_one_id_are_told_apart(address: str) -> None:
    _pin(address, JOB)
    with pytest.raises(StoreError, match=r"two jobs with one id.*set LINEAGE_JOB"):
        _pin(address, {**JOB, "SLURM_CLUSTER_NAME": "two"})


def test_launcher_hands_the_page_over(address: str, tmp_path: Path) -> None:
    _pin(address, JOB)
    (page,) = tmp_path.rglob("pins/*.json")
    with open_store(address) as store:
        _publish(store, 2)
    for handed in (str(page), page.read_text()):
        assert _pin("nowhere", {"LINEAGE_PINS": handed}) == ["art://model:v1"]
        asked = ("model:latest", "model:v2")
        answer = _pin(address, {"LINEAGE_PINS": handed}, *asked)
        assert answer == ["art://model:v1", "art://model:v2"]
        with pytest.raises(StoreNotFoundError):
            _pin("nowhere", {"LINEAGE_PINS": handed}, "other")
    with pytest.raises(StoreError, match="which is not there"):
        _pin("nowhere", {"LINEAGE_PINS": "/nowhere.json"})


def test_job_that_a_launcher_named_is_one_wherever_it_runs(address: str) -> None:
    _pin(address, {"LINEAGE_JOB": "nemo-run:sft_1"})
    with open_store(address) as store:
        _publish(store, 2)
    for cluster in ("one", "two"):
        inside = {**JOB, "SLURM_CLUSTER_NAME": cluster, "LINEAGE_JOB": "nemo-run:sft_1"}
        assert _pin(address, inside) == ["art://model:v1"]


def test_damaged_page_is_named(address: str, tmp_path: Path) -> None:
    _pin(address, JOB)
    (page,) = tmp_path.rglob("pins/*.json")
    page.write_text("{")
    with pytest.raises(StoreError, match=r"is damaged .* remove it"):
        _pin(address, JOB)


def test_memory_store_resolves_for_itself() -> None:
    with open_store("memory:") as store:
        _publish(store, 1)
        pins = pin_job(["model"], store="memory:", environ=JOB, opener=lambda: store)
    assert pins["model"].uri == "art://model:v1"
