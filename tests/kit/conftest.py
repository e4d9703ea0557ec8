"""A kit that knows of no other test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nemotron import kit
from nemotron.kit import session, trackers
from nemotron.kit.resolvers import clear_artifact_cache
from nemotron.lineage import Lineage


@pytest.fixture(autouse=True)
def fresh_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    session.reset()
    clear_artifact_cache()
    trackers.set_lineage_tracker(None)
    OmegaConf.clear_resolver("art")


@pytest.fixture
def store(tmp_path: Path) -> Lineage:
    """The store that the kit works in."""
    kit.init(root=tmp_path / "lineage.db")
    return session.store()
