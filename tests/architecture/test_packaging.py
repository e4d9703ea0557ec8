"""The package list is whole, the links are there, and the locks name no index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "locks").glob("*.txt"))


def test_package_list_is_whole() -> None:
    found = {
        "nemotron." + ".".join(path.parent.relative_to(ROOT).parts)
        for package in ("kit", "lineage")
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_nemotron_stays_a_namespace() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert not (ROOT / "tools" / "ns" / "nemotron" / "__init__.py").exists()
    for name in ("kit", "lineage"):
        link = ROOT / "tools" / "ns" / "nemotron" / name
        assert link.is_symlink()
        assert link.resolve() == ROOT / name
        assert (ROOT / name / "py.typed").exists()


def test_versions_agree() -> None:
    import nemotron.lineage

    assert PROJECT["project"]["version"] == nemotron.lineage.__version__


def test_core_dependencies_are_few() -> None:
    names = {re.split(r"[<>=~ ]", each)[0] for each in PROJECT["project"]["dependencies"]}
    assert names == {"blake3", "networkx", "omegaconf", "packaging", "pydantic", "rich"}


def test_there_are_locks() -> None:
    assert {path.stem for path in LOCKS} >= {"demo", "test", "lint"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_lock_has_hashes_and_names_no_index(lock: Path) -> None:
    text = lock.read_text()
    assert "--index-url" not in text
    assert "--find-links" not in text
    assert not re.search(r"https?://", text)
    pins = re.findall(r"(?m)^([a-z0-9._-]+)==", text)
    assert pins
    for block in re.split(r"(?m)^(?=[a-z0-9._-]+==)", text)[1:]:
        assert "--hash=sha256:" in block, block.splitlines()[0]
