"""Stores that earlier releases wrote are read as those releases read them, and go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import Lineage

from .questions import answers

FROZEN = Path(__file__).parents[1] / "data" / "frozen"
STORES = [
    pytest.param(form, kind, id=f"{form.name}-{kind}")
    for form in sorted(FROZEN.iterdir())
    for kind in ("lineage.db", "lineage")
]


@pytest.fixture
def store(form: Path, kind: str, tmp_path: Path) -> Lineage:
    shutil.copytree(form, tmp_path / "copy")
    return lineage.open(tmp_path / "copy" / kind)


@pytest.mark.parametrize(("form", "kind"), STORES)
def test_frozen_store_answers_as_it_did(store: Lineage, form: Path, kind: str) -> None:
    with store:
        # as JSON: a tuple and a list are the same answer
        found = json.loads(json.dumps(answers(store)))
    expected = json.loads((form / f"{kind}.json").read_text())
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
