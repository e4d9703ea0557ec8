"""Stores that earlier releases wrote are read as those releases read them, and go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import RUNNING

from nemotron import lineage
from nemotron.lineage import Lineage
from nemotron.lineage.journal.bucket import Bucket

from . import frozen
from .questions import answers

FROZEN = Path(__file__).parents[1] / "data" / "frozen"
STORES = [
    pytest.param(
        form, kind, id=f"{form.name}-{kind}", marks=[pytest.mark.postgres] * (kind == "postgres")
    )
    for form in sorted(FROZEN.iterdir())
    for kind in frozen.KINDS
]


@pytest.fixture
def store(
    form: Path,
    kind: str,
    tmp_path: Path,
    address_of: Callable[[str, str], str],
    request: pytest.FixtureRequest,
) -> Lineage:
    if kind == "objects":
        address = address_of(kind, "lineage")
        bucket = Bucket(address, RUNNING["objects"].environ())  # type: ignore[attr-defined]
        frozen.thaw_bucket(form / frozen.KINDS[kind], bucket)
        bucket.close()
    elif kind == "postgres":
        server = request.getfixturevalue("server")
        schema = f"t{abs(hash(tmp_path))}"
        address = frozen.thaw_database(form / frozen.KINDS[kind], server, schema)
    else:
        address = frozen.thaw_files(form, kind, tmp_path / "copy")
    return lineage.open(address)


@pytest.mark.parametrize(("form", "kind"), STORES)
def test_frozen_store_answers_as_it_did(store: Lineage, form: Path, kind: str) -> None:
    with store:
        # as JSON: a tuple and a list are the same answer
        found = json.loads(json.dumps(answers(store)))
    expected = json.loads((form / f"{frozen.KINDS[kind]}.json").read_text())
    # the pending record is committed anew, with a salt of its own
    assert {**found, "head": None} == {**expected, "head": None}


@pytest.mark.parametrize(("form", "kind"), STORES)
def test_frozen_store_goes_on(store: Lineage, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("x")
    with store:
        with store.run("next") as run:
            run.use("model:best", role="init")
            version = run.publish("model", path=tmp_path / "weights", type="model")
        assert version.uri.version == max(v.uri.version or 0 for v in store.log("model"))
        assert "art://model:v2" in [node.uri for node in store.lineage(version).ancestors()]
